"""Feature extraction through a run's readout: deterministic, in order, split over ranks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import NamedTuple, final

import torch
from torch import Tensor
from torch.utils.data import Dataset

from sslkit.core.augment import to_float
from sslkit.core.evaluator import Make, Rows
from sslkit.core.source import Source
from sslkit.core.view import View
from sslkit.data import decoding_workers as processes
from sslkit.data.fixed_crops import as_input, fixed_crops
from sslkit.data.resident import checked
from sslkit.data.unreadable import Decoded, Reasons, decoded_of
from sslkit.errors import DataError
from sslkit.runtime.mps import exact_device
from sslkit.runtime.parallel import Parallel

MOST_DIMENSIONS = 6
"""Of a row; ranks exchange its shape as a vector that long."""


Unreadable = Callable[[Source, int, str], None]
"""Called with each image that is left out: its source, its index and the reason."""


class Loading(NamedTuple):
    """How images are brought in for features."""

    view: View
    crop: float
    batch_size: int
    workers: int
    parallel: Parallel
    unreadable: Unreadable


def rows(source: Source, make: Make, loading: Loading, only: Tensor | None = None) -> Rows:
    """The output of `make` for every readable image of `source`, on the device, in order.

    Args:
        source: the images.
        make: what is computed from a batch of images.
        loading: how images are brought in.
        only: `[N]` int64, the images to read, in this order. Default: all.

    Raises:
        DataError: no image can be read.
        WorkerError: worker processes died or are stuck.
    """
    selection = torch.arange(len(source)) if only is None else only.cpu()
    values, readable = _values(source, make, loading, selection)
    indices = selection.to(values.device)[readable]
    labels = None if source.labels is None else source.labels.to(values.device)[indices]
    return Rows(values[readable], indices, labels, source.classes)


def require_labels(source: Source) -> Tensor:
    """The labels of `source`. Raises DataError where it has none."""
    if source.labels is None:
        raise DataError(
            "these images have no labels, which evaluation needs: give class sub-folders, with `label_folders: true` "
            f"where the source has that field, or a label column (the first image is {source.name(0)})"
        )
    return source.labels


@torch.no_grad()
def _values(source: Source, make: Make, loading: Loading, selection: Tensor) -> tuple[Tensor, Tensor]:
    """`[N, ...]` rows of the `selection` and `[N]` whether each was readable; every rank has its share of batches."""
    parallel, count = loading.parallel, len(selection)
    starts = list(range(0, count, loading.batch_size))[parallel.rank :: parallel.world]
    values: Tensor | None = None
    readable = torch.zeros(count, device=parallel.device)
    with contextlib.closing(outputs(source, make, loading, selection, starts)) as batches:
        for batch, output in batches:
            if output is None:
                continue
            places = batch.to(parallel.device)
            if values is None:
                values = torch.zeros(count, *output.shape[1:], device=parallel.device)
            values[places] = output
            readable[places] = 1.0
    shape = _shape(values, parallel)
    if shape is None:
        first = source.name(int(selection[0])) if count else "none"
        raise DataError(f"none of the {count} images can be read; the first is {first}")
    values = torch.zeros(count, *shape, device=parallel.device) if values is None else values
    exact = exact_device(parallel.device)  # protocols compute in float64
    return parallel.total(values).to(exact), (parallel.total(readable) > 0).to(exact)


def outputs(
    source: Source, make: Make, loading: Loading, selection: Tensor, starts: Sequence[int]
) -> Generator[tuple[Tensor, Tensor | None], None, None]:
    """What `make` makes of each batch of the `selection` that begins at one of `starts`, in their order.

    Close it, so that no worker outlives an error. `loading.unreadable` is told of images before their batch comes.

    Yields:
        `[B]` places in the selection of the images that can be read, and their rows `[B, ...]` float32 on the device;
        None of a batch of which no image can be read.
    """
    device, view = loading.parallel.device, loading.view
    with contextlib.closing(_batches(source, loading, selection, starts)) as batches:
        for places, images in batches:
            if not len(places):
                yield places, None
                continue
            yield places, make(as_input(images.to(device), view), selection[places].to(device)).float()


def _shape(values: Tensor | None, parallel: Parallel) -> tuple[int, ...] | None:
    """The shape of a row, also on a rank that has none; None where no rank has any."""
    local = [0] * (MOST_DIMENSIONS + 2)
    if values is not None:
        local = [1, values.ndim - 1, *values.shape[1:], *local][: len(local)]
    ranks, dimensions, *sizes = parallel.total(torch.tensor(local, device=parallel.device)).tolist()
    return tuple(size // ranks for size in sizes[: dimensions // ranks]) if ranks else None


def _batches(
    source: Source, loading: Loading, selection: Tensor, starts: Sequence[int]
) -> Generator[tuple[Tensor, Tensor], None, None]:
    """(places in `selection`, images at the view's size) of the batches that begin at `starts`; none of some batch."""
    view = loading.view
    held = source.held(view.stream)
    if held is None:
        yield from _decoded(source, loading, selection, starts)
        return
    held = checked(held, source.channels_of(view.stream), view.axes)
    for start in starts:
        indices = selection[start : start + loading.batch_size]
        samples = held[indices] if isinstance(held, Tensor) else [held[i] for i in indices.tolist()]
        yield torch.arange(start, start + len(samples)), fixed_crops(samples, view, loading.crop)


def _decoded(
    source: Source, loading: Loading, selection: Tensor, starts: Sequence[int]
) -> Iterator[tuple[Tensor, Tensor]]:
    plan = [list(range(start, min(start + loading.batch_size, len(selection)))) for start in starts]
    centers = _Centers(source, loading.view, loading.crop, selection)
    options = processes.Loading(loading.workers, "readout.batch_size")
    for places, images, reasons in processes.batches(centers, plan, _readable, options):
        for place, reason in reasons:
            loading.unreadable(source, int(selection[place]), reason)
        yield places, images


@final
class _Centers(Dataset[tuple[int, Decoded]]):
    """The fixed crop of one sample, or the reason why it cannot be read."""

    def __init__(self, source: Source, view: View, crop: float, selection: Tensor) -> None:
        self.source, self.view, self.crop, self.selection = source, view, crop, selection

    def __getitem__(self, place: int) -> tuple[int, Decoded]:
        stream, axes = self.view.stream, self.view.axes
        image, reason = decoded_of(self.source, int(self.selection[place]), stream, axes)
        if image is not None:
            image = fixed_crops(image[None], self.view, self.crop)[0]
        return place, Decoded(image, reason)


def _readable(items: list[tuple[int, Decoded]]) -> tuple[Tensor, Tensor, Reasons]:
    kept = [(index, one.image) for index, one in items if one.image is not None]
    images = [image for _, image in kept]
    if len({image.dtype for image in images}) > 1:
        images = [to_float(image) for image in images]
    reasons = [(index, one.reason) for index, one in items if one.image is None]
    indices = torch.tensor([index for index, _ in kept], dtype=torch.int64)
    return indices, torch.stack(images) if images else torch.empty(0), reasons
