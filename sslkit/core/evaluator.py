"""Evaluators: protocols that measure a network, the features they read and the scores they return."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from torch import Tensor

from sslkit.core.backbone import Backbone
from sslkit.core.context import Env
from sslkit.core.passes import Tokens
from sslkit.core.problem import Problem
from sslkit.core.source import Source
from sslkit.core.system import System
from sslkit.core.view import View
from sslkit.errors import DataError

Split = Literal["train", "test"]
"""The images to learn from, and those to score."""

Make = Callable[[Tensor, Tensor], Tensor]
"""Normalized images `[B, C, S, S]` and their indices `[B]` -> one row for each, `[B, ...]`."""


class Features(NamedTuple):
    """Readout features of a labeled source."""

    values: Tensor
    """`[N, D]` float32."""
    labels: Tensor
    """`[N]` int64."""
    classes: tuple[str, ...]


class Rows(NamedTuple):
    """One row for every readable image of a source, in order."""

    values: Tensor
    """`[N, ...]` float32."""
    indices: Tensor
    """`[N]` int64, places in the source."""
    labels: Tensor | None
    """`[N]` int64, where the source has labels."""
    classes: tuple[str, ...]


class Predictions(NamedTuple):
    """Predicted class of each scored image."""

    labels: Tensor
    """`[N]` int64, the truth."""
    guesses: Tensor
    """`[N]` int64, the class ranked first."""


class Scores(NamedTuple):
    """Results of a protocol."""

    metrics: Mapping[str, float]
    """By name, those that the spec declares in `reported_metrics`; the first is the headline."""
    predictions: Predictions | None = None
    """Those behind the headline accuracy: they are stored, for intervals and for paired tests between runs."""
    tables: Mapping[str, object] = {}
    """Curves and matrices, in values that JSON can hold."""
    figures: Mapping[str, Callable[[Path], None]] = {}
    """Name -> function that draws the figure to a .png file; called on the first rank only."""
    intervals: Mapping[str, tuple[float, float]] = {}
    """95 % intervals of metrics that `predictions` give none for."""


class Setting(NamedTuple):
    """Data and network of an evaluator, as far as they are known before a run trains."""

    sources: Mapping[Split, Source]
    """The images of every split that it needs."""
    net: Backbone | None
    """The network that the readout names, with its first weights: to look at, not to run or change.

    None where it could not be built.
    """
    pool: Literal["cls", "mean"]
    """What the readout takes of tokens."""


class Subject(ABC):
    """The network under evaluation. Everything is computed at first use and shared between evaluators."""

    seed: int
    """Seed for an evaluator's own randomness."""
    view: View
    """What the network reads: size, mean and deviation of its images."""
    pool: Literal["cls", "mean"]
    """What the readout takes of tokens: the class token, or the mean of the patch tokens."""
    workers: int = 0
    """Processes that may decode images; no number depends on it."""
    crop: float = 1.0
    """Share of the shorter side that the readout's square keeps."""

    @abstractmethod
    def features(self, split: Split, layer: int | None = None) -> Features:
        """Features of the labeled images of `split`, through the run's one readout.

        Args:
            split: `train` or `test`.
            layer: another block to read instead of the readout's, as `readout.layer`.

        Raises:
            DataError: the split does not exist or has no labels.
        """

    @abstractmethod
    def rows(self, split: Split, make: Make, only: Tensor | None = None, view: str | None = None) -> Rows:
        """What `make` makes of every readable sample of `split`, cut as the readout cuts it. Needs no labels.

        Ranks share the images and all get all rows.

        Args:
            split: `train` or `test`.
            make: the work, without gradients.
            only: `[N]` int64, places in the source: no other image is read, and rows come in this order. Default: all.
            view: a view of the run that trained the network, whose crops `make` gets, without random changes. Default:
                that of the readout.

        Raises:
            DataError: the split does not exist, or no sample can be read.
        """

    def values(self, view: str, samples: Sequence[Tensor]) -> Tensor:
        """`samples` `[C, *axes]`, of anything, as the view called so of the run has them: `[B, *shape]`, on the device.

        As prompts for a network that reads text: `subject.values("text", [bytes_of(prompt)])`.

        Raises:
            DataError: the network comes from no run.
        """
        raise DataError("this evaluator needs the views of the run that trained the network")

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """The readout of normalized images `[B, C, S, S]`, as `[B, D]` float32."""

    @abstractmethod
    def tokens(self, images: Tensor, layers: tuple[int, ...] = (), attention: bool = False) -> Tokens:
        """The network's answer to normalized images `[B, C, S, S]`, with V = 1, under the run's precision.

        Raises:
            DataError: raw pixels are scored, which have no network.
        """

    def pooled(self, cls: Tensor, patch: Tensor) -> Tensor:
        """What the readout takes of class tokens `[B, D]` and patch tokens `[B, N, D]` of any block: `[B, E]`."""
        return cls if self.pool == "cls" else patch.mean(1)

    @abstractmethod
    def source(self, split: Split) -> Source:
        """The images themselves."""

    @abstractmethod
    def backbone(self) -> Backbone:
        """The network that is read. Raises DataError where raw pixels are scored."""

    @abstractmethod
    def system(self) -> tuple[System, Env]:
        """The run that trained the network: its objectives, and what they know.

        Raises:
            DataError: the network comes from no run.
        """


class Evaluator(ABC):
    """A protocol."""

    protocol: str
    """Name and version, as in `knn@1`; recorded with the results."""
    needs: tuple[Split, ...] = ("train", "test")
    """Splits that it reads; a run without them is refused before it trains."""
    labeled: bool = True
    """Whether their images must have labels."""
    reads_images: bool = True
    """Whether it reads images, tokens or the network. Those that read `features` and `source.labels` alone score files
    of embeddings too."""

    def check(self, setting: Setting) -> Iterator[Problem]:
        """Yield everything that would stop it later, as far as images and network tell; asked before a run trains.

        The splits that it needs are there, and their labels where it needs them. Problems name a field of the spec, or
        none where the data are at fault.
        """
        return iter(())

    def unused(self, setting: Setting) -> Iterator[Problem]:
        """Yield the fields of its spec that have no effect on these images, whatever their values.

        Those that differ from their defaults are refused before a run trains.
        """
        return iter(())

    @abstractmethod
    def __call__(self, subject: Subject) -> Scores:
        """Measure `subject`."""
