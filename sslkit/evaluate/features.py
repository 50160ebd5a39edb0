"""Features through a run's one readout: deterministic, in order, split over ranks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from sslkit.core.augment import to_float, to_uint8
from sslkit.core.backbone import Backbone
from sslkit.core.env import View
from sslkit.core.evaluator import Make, Rows
from sslkit.core.passes import Request, Tokens
from sslkit.core.source import Source, pixels
from sslkit.errors import DataError
from sslkit.functional.resize import resize_center
from sslkit.spec.parts import Readout
from sslkit.train import workers as processes
from sslkit.train.feed import Reasons
from sslkit.train.mps import exact_device
from sslkit.train.parallel import Parallel
from sslkit.train.pipeline import moments

MOST_DIMENSIONS = 6
"""Of a row; what ranks tell each other about its shape has this length."""

Encoder = Callable[[Tensor], Tensor]
"""Normalized images `[B, C, S, S]` -> features `[B, D]`."""


Unreadable = Callable[[Source, int, str], None]
"""Told of each image that is left out: its source, its index and the reason."""


class Loading(NamedTuple):
    """How images are brought in for features."""

    view: View
    crop: float
    batch_size: int
    workers: int
    parallel: Parallel
    unreadable: Unreadable


def rows(source: Source, make: Make, loading: Loading, only: Tensor | None = None) -> Rows:
    """What `make` makes of every readable image of `source`, on the device, in order.

    Args:
        source: the images.
        make: the work.
        loading: how images are brought in.
        only: `[N]` int64, the images to read, in this order. Default: all.

    Raises:
        DataError: no image can be read.
        WorkerError: worker processes died or are stuck.
    """
    chosen = torch.arange(len(source)) if only is None else only.cpu()
    values, seen = _values(source, make, loading, chosen)
    indices = chosen.to(values.device)[seen]
    labels = None if source.labels is None else source.labels.to(values.device)[indices]
    return Rows(values[seen], indices, labels, source.classes)


def require_labels(source: Source) -> Tensor:
    """The labels of `source`. Raises DataError where it has none."""
    if source.labels is None:
        raise DataError(
            "these images have no labels, which evaluation needs: give class sub-folders or a label column "
            f"(the first image is {source.name(0)})"
        )
    return source.labels


@torch.no_grad()
def _values(source: Source, make: Make, loading: Loading, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """`[N, ...]` rows of the `chosen` and `[N]` whether each was made; every rank makes its share of the batches."""
    parallel, count = loading.parallel, len(chosen)
    starts = list(range(0, count, loading.batch_size))[parallel.rank :: parallel.world]
    values: Tensor | None = None
    seen = torch.zeros(count, device=parallel.device)
    with contextlib.closing(
        _batches(source, loading, chosen, starts)
    ) as batches:  # no worker outlives an error
        for batch, images in batches:
            places, indices = batch.to(parallel.device), chosen[batch].to(parallel.device)
            made = make(_normalized(images.to(parallel.device), loading.view), indices).float()
            if values is None:
                values = torch.zeros(count, *made.shape[1:], device=parallel.device)
            values[places] = made
            seen[places] = 1.0
    shape = _shape(values, parallel)
    if shape is None:
        first = source.name(int(chosen[0])) if count else "none"
        raise DataError(f"none of the {count} images can be read; the first is {first}")
    values = torch.zeros(count, *shape, device=parallel.device) if values is None else values
    exact = exact_device(parallel.device)  # protocols compute in float64
    return parallel.total(values).to(exact), (parallel.total(seen) > 0).to(exact)


def _shape(values: Tensor | None, parallel: Parallel) -> tuple[int, ...] | None:
    """The shape of a row, also on a rank that has made none; None where no rank has."""
    own = [0] * (MOST_DIMENSIONS + 2)
    if values is not None:
        own = [1, values.ndim - 1, *values.shape[1:], *own][: len(own)]
    ranks, dimensions, *sizes = parallel.total(torch.tensor(own, device=parallel.device)).tolist()
    return tuple(size // ranks for size in sizes[: dimensions // ranks]) if ranks else None


def _normalized(images: Tensor, view: View) -> Tensor:
    mean, std = moments(view, images.device)
    return (to_float(images) - mean) / std


def _batches(
    source: Source, loading: Loading, chosen: Tensor, starts: Sequence[int]
) -> Generator[tuple[Tensor, Tensor], None, None]:
    """(places in `chosen`, uint8 images at the view's size) of the batches that begin at `starts`."""
    resident = source.resident()
    if resident is None:
        yield from _decoded(source, loading, chosen, starts)
        return
    for start in starts:
        images = to_float(pixels(resident, source.channels)[chosen[start : start + loading.batch_size]])
        places = torch.arange(start, start + len(images))
        yield places, to_uint8(resize_center(images, loading.view.size, loading.crop))


def _decoded(
    source: Source, loading: Loading, chosen: Tensor, starts: Sequence[int]
) -> Iterator[tuple[Tensor, Tensor]]:
    plan = [list(range(start, min(start + loading.batch_size, len(chosen)))) for start in starts]
    centers = _Centres(source, loading.view.size, loading.crop, chosen)
    how = processes.Loading(loading.workers, "readout.batch_size")
    for places, images, reasons in processes.batches(centers, plan, _readable, how):
        for place, reason in reasons:
            loading.unreadable(source, int(chosen[place]), reason)
        if len(places):
            yield places, images


@final
class _Centres(Dataset[tuple[int, Tensor | str]]):
    """One decoded image cut to the centre, or the reason why it cannot be read."""

    def __init__(self, source: Source, size: int, crop: float, chosen: Tensor) -> None:
        self.source, self.size, self.crop, self.chosen = source, size, crop, chosen

    def __getitem__(self, place: int) -> tuple[int, Tensor | str]:
        try:
            image = pixels(self.source.load(int(self.chosen[place])), self.source.channels)
        except DataError as error:
            return place, str(error)
        return place, to_uint8(resize_center(to_float(image[None]), self.size, self.crop))[0]


def _readable(items: list[tuple[int, Tensor | str]]) -> tuple[Tensor, Tensor, Reasons]:
    kept = [(index, image) for index, image in items if isinstance(image, Tensor)]
    images = torch.stack([image for _, image in kept]) if kept else torch.empty(0)
    reasons = [(index, reason) for index, reason in items if isinstance(reason, str)]
    return torch.tensor([index for index, _ in kept], dtype=torch.int64), images, reasons


def net_encoder(
    net: Backbone,
    readout: Readout,
    autocast: Callable[[], AbstractContextManager[Any]],
    head: nn.Module | None = None,
) -> Encoder:
    """The readout of `net`: the class token or the mean patch token of one block, through `head` if there is one."""
    after = head or nn.Identity()

    def encode(images: Tensor) -> Tensor:
        layers = () if readout.layer == -1 else (readout.layer,)
        with autocast():
            tokens: Tokens = net([Request(images[None], None, "drop", layers)])[0]
            features: Tensor = after(_pooled(tokens, readout))
        return features

    return encode


def _pooled(tokens: Tokens, readout: Readout) -> Tensor:
    """`[B, D]` of tokens whose one layer is the readout's, or that have none."""
    if tokens.layers:
        inner = tokens.layers[0][0]
        return inner[:, 0] if readout.pool == "cls" else inner[:, 1:].mean(1)
    return tokens.cls[0] if readout.pool == "cls" else tokens.patch[0].mean(1)


def pixel_encoder(images: Tensor) -> Tensor:
    """The baseline: the normalized pixels themselves."""
    return images.flatten(1)
