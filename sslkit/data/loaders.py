"""Batch feeds: the micro-batches of each step, from memory or from worker processes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import NamedTuple, final

import torch
from torch import Tensor
from torch.utils.data import Dataset

from sslkit.core.source import Source
from sslkit.data import decoding_workers as processes
from sslkit.data.crops import Pipeline, Samples
from sslkit.data.sampler import Batches
from sslkit.data.unreadable import Reasons, Unreadable, readable_sample
from sslkit.errors import DataError, WorkerError
from sslkit.runtime.mps import has_float64


class Batch(NamedTuple):
    """One micro-batch on the training device."""

    images: dict[str, Tensor]
    """View -> `[V, B, C, S, S]`, normalized; or `[V, B, L]` int64 of a view of symbols."""
    rows: Tensor
    """`[B]` int64, places in the step's global batch."""
    indices: Tensor | None = None
    """`[B]` int64 on the CPU, which image of the source each is; cached tokens are found by it."""


class Feed(ABC):
    """An endless supply of batches from any step on."""

    @property
    def failure(self) -> str | None:
        """Why worker processes are gone. Batches then come from this process, slowly: enough to save and leave."""
        return None

    @abstractmethod
    def step(self, step: int) -> Iterator[Batch]:
        """The micro-batches of `step` for this rank. Steps are asked for in order."""

    @abstractmethod
    def close(self) -> None:
        """Stop worker processes."""


@final
class ResidentFeed(Feed):
    """Samples that are held in memory, images on the training device; crops are cut where they are.

    Args:
        images: all samples of each stream, or of the only one: `[N, C, H, W]`, or one a sample.
        order: which make which step.
        pipeline: what makes crops of them.
        device: where to train.
    """

    def __init__(
        self,
        images: Samples | Mapping[str, Samples],
        order: Batches,
        pipeline: Pipeline,
        device: torch.device,
    ) -> None:
        self.order, self.pipeline, self.device = order, pipeline, device
        self._held = {name: _held(samples, device) for name, samples in pipeline.by_stream(images).items()}

    def step(self, step: int) -> Iterator[Batch]:
        for indices, rows in self.order.micro_batches(step):
            here = rows.to(self.device, non_blocking=True)
            places = indices.to(self.device, non_blocking=True)
            samples = {name: held(places) for name, held in self._held.items()}
            crops = self.pipeline.crops(samples, step, here)
            yield Batch({name: x.to(self.device) for name, x in crops.items()}, here, indices)

    def close(self) -> None:
        """Nothing to let go."""


def _held(samples: Samples, device: torch.device) -> Callable[[Tensor], Samples]:
    """What picks those at some places: of one tensor, which goes to `device`, or of a list, which stays."""
    if isinstance(samples, Tensor):
        return samples.to(device).__getitem__
    return lambda places: [samples[i] for i in places.tolist()]


@final
class WorkerFeed(Feed):
    """Images decoded and cut to size by worker processes, finished on the training device (or by the workers too)."""

    def __init__(
        self,
        source: Source,
        order: Batches,
        pipeline: Pipeline,
        device: torch.device,
        *,
        start: int,
        stop: int,
        how: processes.Loading,
        unreadable: Unreadable,
    ) -> None:
        self.order, self.pipeline, self.device, self.unreadable = order, pipeline, device, unreadable
        self._cutter, self._how = _Cutter(source, pipeline), how._replace(pin_memory=device.type == "cuda")
        self._plan = _Plan(order, start, stop)
        self._batches: Iterator[_Cut | DataError] | None = None
        self._failure: str | None = None

    @property
    def failure(self) -> str | None:
        return self._failure

    def step(self, step: int) -> Iterator[Batch]:
        """The next micro-batches; the workers run ahead. Raises DataError where no image can be read."""
        for items in self._plan.of(step):
            batch = self._next(items)
            if isinstance(batch, DataError):
                raise batch
            crops, rows, reasons = batch
            for index, reason in reasons:
                self.unreadable(index, reason)
            here = rows.to(self.device, non_blocking=True)
            moved = {name: x.to(self.device, non_blocking=True) for name, x in crops.items()}
            indices = torch.tensor([item.image for item in items])
            yield Batch(self.pipeline.rest(moved, step, here), here, indices)

    def _next(self, items: list[_Item]) -> _Cut | DataError:
        """The micro-batch of `items`: from the workers, which are there by now, or made here where they died."""
        if self._failure is None:
            try:
                if self._batches is None:
                    self._batches = processes.batches(self._cutter, self._plan, processes.as_it_is, self._how)
                return next(self._batches)
            except WorkerError as error:
                self._failure = str(error)
                self._how.warn(f"{error}. Saving as soon as this step is done without workers")
        return self._cutter.__getitems__(items)

    def close(self) -> None:
        batches, self._batches = self._batches, None
        if isinstance(batches, Generator):
            batches.close()


@final
class MovedFeed(Feed):
    """A feed of the CPU whose images go to `device`; rows stay, as masks are drawn where they are."""

    def __init__(self, feed: Feed, device: torch.device) -> None:
        self.feed, self.device = feed, device

    @property
    def failure(self) -> str | None:
        return self.feed.failure

    def step(self, step: int) -> Iterator[Batch]:
        for batch in self.feed.step(step):
            yield batch._replace(images={name: x.to(self.device) for name, x in batch.images.items()})

    def close(self) -> None:
        self.feed.close()


def on_device(feed: Feed, device: torch.device) -> Feed:
    """`feed`, made for `exact_device(device)`, as the training on `device` wants it."""
    return feed if has_float64(device) else MovedFeed(feed, device)


class _Item(NamedTuple):
    image: int
    step: int
    row: int


_Cut = tuple[dict[str, Tensor], Tensor, Reasons]
"""Crops `[V, B, *shape]` by view, rows, and images that could not be read."""


@final
class _Plan:
    """The items of every micro-batch of this rank, from `start` to `stop`."""

    def __init__(self, order: Batches, start: int, stop: int) -> None:
        self.order, self.start, self.stop = order, start, stop

    def __iter__(self) -> Iterator[list[_Item]]:
        for step in range(self.start, self.stop):
            yield from self.of(step)

    def of(self, step: int) -> Iterator[list[_Item]]:
        """The items of the micro-batches of `step`."""
        for indices, rows in self.order.micro_batches(step):
            yield [_Item(i, step, r) for i, r in zip(indices.tolist(), rows.tolist(), strict=True)]


@final
class _Cutter(Dataset[_Cut | DataError]):
    """A micro-batch in a worker: decode, cut, hand over. Errors travel as values, without a traceback."""

    def __init__(self, source: Source, pipeline: Pipeline) -> None:
        self.source, self.pipeline = source, pipeline

    def __getitems__(self, items: list[_Item]) -> _Cut | DataError:
        """All at once: to draw for one image costs as much as to draw for many."""
        try:
            decoded = [readable_sample(self.source, item.image, self.pipeline.axes) for item in items]
        except DataError as error:
            return error
        rows = torch.tensor([item.row for item in items])
        samples = {name: [sample[name] for sample, _ in decoded] for name in self.pipeline.axes}
        crops = self.pipeline.first(samples, items[0].step, rows)
        return crops, rows, [reason for _, reasons in decoded for reason in reasons]
