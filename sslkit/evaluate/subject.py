"""What evaluators measure, and the loop over them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, final

import torch
from torch import nn

from sslkit.core.backbone import Backbone
from sslkit.core.env import View
from sslkit.core.evaluator import Features, Split, Subject
from sslkit.core.source import Source
from sslkit.core.system import System
from sslkit.errors import DataError, SpecError, SslkitError
from sslkit.evaluate.features import Loading, Unreadable, extract, net_encoder, pixel_encoder, require_labels
from sslkit.spec.families import EvaluatorSpec, SourceSpec
from sslkit.spec.parts import Readout
from sslkit.spec.run import RunSpec
from sslkit.train import rng
from sslkit.train.parallel import Parallel

FeatureCache = dict[tuple[int, str], Features]
"""Features by (source, encoder), shared by the evaluators of one round."""


@final
class Sources:
    """Sources by spec and split, opened once."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, Split], Source | None] = {}

    def put(self, spec: SourceSpec, split: Split, source: Source) -> None:
        """Keep a source that is open already."""
        self._open[spec.model_dump_json(), split] = source

    def get(self, spec: SourceSpec, split: Split) -> Source:
        """The images of `split`. Raises DataError where there are none."""
        place = (spec.model_dump_json(), split)
        if place not in self._open:
            self._open[place] = spec.build(split)
        source = self._open[place]
        if source is None:
            raise DataError(
                f"{spec.kind_name()!r} has no {split} split; name one in the data or in the evaluator"
            )
        return source


class Reading(NamedTuple):
    """How a network is read: the same during training and after."""

    readout: Readout
    loading: Loading
    autocast: Callable[[], AbstractContextManager[Any]]
    seed: int
    head: nn.Module | None = None
    """What features of a network go through."""


@final
class NetSubject(Subject):
    """A backbone, or with `None` the pixels themselves."""

    def __init__(
        self, net: Backbone | None, reading: Reading, data: SourceSpec, evaluator: EvaluatorSpec,
        sources: Sources, cache: FeatureCache,
    ) -> None:  # fmt: skip
        self._net, self._reading, self._sources, self._cache = net, reading, sources, cache
        self._evaluator, self._data = evaluator, data
        self.seed = rng.key(reading.seed, "evaluate", evaluator.label)

    def features(self, split: Split) -> Features:
        """Extracted at first use and kept for the round."""
        source = self.source(split)
        place = (id(source), "pixels" if self._net is None else "net")
        if place not in self._cache:
            self._cache[place] = extract(source, self._encoder(), self._reading.loading)
        return self._cache[place]

    def source(self, split: Split) -> Source:
        """The images of `split`."""
        return self._sources.get(source_of(self._evaluator, self._data, split), split)

    def backbone(self) -> Backbone:
        """The network. Raises DataError for the pixel baseline."""
        if self._net is None:
            raise DataError("raw pixels have no network; this evaluator cannot be used with `baselines`")
        return self._net

    def _encoder(self) -> Callable[[Any], Any]:
        if self._net is None:
            return pixel_encoder
        reading = self._reading
        return net_encoder(self._net, reading.readout, reading.autocast, reading.head)


def reading_of(
    spec: RunSpec,
    view: View,
    parallel: Parallel,
    autocast: Callable[[], AbstractContextManager[Any]],
    unreadable: Unreadable = lambda source, index, reason: None,
    head: nn.Module | None = None,
) -> Reading:
    """The run's one readout; `unreadable` is told of images that are left out, features go through `head`."""
    loading = Loading(view, spec.readout.crop, spec.readout.batch_size, spec.workers, parallel, unreadable)
    return Reading(spec.readout, loading, autocast, spec.seed, head)


@torch.no_grad()
def head_of(system: System, readout: Readout) -> nn.Module | None:
    """The head that `readout` names, tried on features of 0.

    Raises:
        SpecError: no objective has such a module, or it does not turn features into vectors.
    """
    if readout.head is None:
        return None
    heads = [
        f"{o}.{name}" for o, objective in system.objectives.items() for name, _ in objective.named_children()
    ]
    known = f"Modules of objectives: {', '.join(heads) or 'none'}"
    try:
        head = system.objectives.get_submodule(readout.head)
    except AttributeError:
        raise SpecError(f"readout.head: {readout.head!r} is not one. {known}") from None
    net = system.nets[readout.net]
    assert isinstance(net, Backbone), "the nets of a system are backbones"
    device = next(system.parameters()).device
    with evaluating(head):
        try:
            rows, _ = head(torch.zeros(2, net.dim, device=device)).shape
        except (RuntimeError, TypeError, ValueError, AttributeError) as error:
            raise SpecError(f"readout.head: {readout.head!r} takes no features: {error}. {known}") from None
    assert rows == 2, "one row for each image"
    return head


@contextlib.contextmanager
def evaluating(*nets: nn.Module | None) -> Iterator[None]:
    """Evaluation mode for the block; every module gets its own mode back."""
    found = [net for net in nets if net is not None]
    modes = [(module, module.training) for net in found for module in net.modules()]
    try:
        for net in found:
            net.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def require_splits(evaluators: Sequence[EvaluatorSpec], data: SourceSpec, sources: Sources) -> None:
    """Pass where every evaluator finds the labelled images that it needs.

    Raises:
        DataError: a split is missing or has no labels; the message names the evaluator.
    """
    for place, spec in enumerate(evaluators):
        for split in spec.build().needs:
            try:
                require_labels(sources.get(source_of(spec, data, split), split))
            except DataError as error:
                raise DataError(f"evaluate.{place}: {error}") from None


def source_of(evaluator: EvaluatorSpec, data: SourceSpec, split: Split) -> SourceSpec:
    """Where an evaluator's images of `split` come from."""
    train = evaluator.train or data
    return train if split == "train" else evaluator.test or train


def evaluate(
    net: Backbone | None,
    evaluators: Mapping[int, EvaluatorSpec],
    data: SourceSpec,
    reading: Reading,
    sources: Sources,
) -> dict[str, dict[str, float]]:
    """Label -> metrics of each evaluator, keyed by its place in the spec. `net` None scores raw pixels.

    Every rank extracts features; scores are computed by all of them alike.
    """
    cache: FeatureCache = {}
    results: dict[str, dict[str, float]] = {}
    with evaluating(net, reading.head):
        for place, spec in evaluators.items():
            subject = NetSubject(net, reading, data, spec, sources, cache)
            try:
                results[spec.label] = dict(spec.build()(subject))
            except SslkitError as error:
                raise type(error)(f"evaluate.{place}: {error}") from None
    return results
