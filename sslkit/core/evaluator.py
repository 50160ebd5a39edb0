"""Evaluators: protocols that measure a network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Literal, NamedTuple

from torch import Tensor

from sslkit.core.backbone import Backbone
from sslkit.core.source import Source

Split = Literal["train", "test"]


class Features(NamedTuple):
    """What the readout made of a labelled source."""

    values: Tensor
    """`[N, D]` float32."""
    labels: Tensor
    """`[N]` int64."""
    classes: tuple[str, ...]


class Subject(ABC):
    """What is measured. Everything is made at first use and shared between evaluators."""

    seed: int
    """Seed for an evaluator's own randomness."""

    @abstractmethod
    def features(self, split: Split) -> Features:
        """Features of the labelled images of `split`, through the run's one readout.

        Raises:
            DataError: the split does not exist or has no labels.
        """

    @abstractmethod
    def source(self, split: Split) -> Source:
        """The images themselves."""

    @abstractmethod
    def backbone(self) -> Backbone:
        """The network that is read."""


class Evaluator(ABC):
    """A protocol."""

    protocol: str
    """Name and version, as in `knn@1`; recorded with the results."""
    needs: tuple[Split, ...] = ("train", "test")
    """Splits whose labelled images it reads; a run without them is refused before it trains."""

    @abstractmethod
    def __call__(self, subject: Subject) -> Mapping[str, float]:
        """Metrics by name; the first is the headline."""
