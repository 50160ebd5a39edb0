"""One pass over images: every image decoded once, by worker processes, and what it is like."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from sslkit.analysis.image_data.pixel_tally import AT_ONCE, PixelTally
from sslkit.analysis.image_data.reading_bar import ReadingBar
from sslkit.core.source import Source
from sslkit.data.decoding_workers import Loading, as_it_is, batches
from sslkit.data.unreadable import decoded, decoded_of
from sslkit.runtime import seeds
from sslkit.runtime.signals import StopRequest

Values = NDArray[np.generic]
"""`[C, H, W]`."""

IMAGES = 16
"""That a worker reads at a time."""
COARSE = 32
"""Pixels between those that are looked at first, where all must be equal for a reason to look at the others."""


class ImageFacts(NamedTuple):
    """What one readable image is like."""

    place: int
    """Its index."""
    height: int
    width: int
    dtype: str
    """Such as `uint8`."""
    constant: bool
    """All pixels of each channel are equal."""
    gray: bool
    """It has several channels, all of them equal."""


class Part(NamedTuple):
    """What a worker found out about a batch."""

    tally: PixelTally
    facts: list[ImageFacts]
    reasons: list[tuple[int, str]]
    """(index, reason) of images that cannot be read."""


class Survey(NamedTuple):
    """What a pass over images found out."""

    tally: PixelTally
    facts: list[ImageFacts]
    reasons: list[tuple[int, str]]
    """(index, reason) of images that cannot be read."""
    asked: int
    """Images that were to be read."""
    signal: str | None = None
    """The signal that ended the pass early, such as `SIGINT`."""

    @property
    def read(self) -> int:
        """Images that were looked at, readable or not."""
        return len(self.facts) + len(self.reasons)

    def sizes(self) -> Counter[tuple[int, int]]:
        """How many images there are of each (height, width)."""
        return Counter((image.height, image.width) for image in self.facts)


def survey(
    source: Source,
    seed: int,
    workers: int,
    images: int | None = None,
    bar: ReadingBar | None = None,
    beside: Mapping[str, int] | None = None,
) -> Survey:
    """Decode the images of `source` once each, in an order drawn from `seed`, so that any beginning is a sample.

    A first signal ends it after the batch at hand, with what was found out so far.

    Args:
        source: the images.
        seed: of the order.
        workers: processes that decode; 0 decodes in this one.
        images: how many of them. Default: all.
        bar: shows how far it is.
        beside: further streams that an image must have, with their axes. Default: none.

    Raises:
        WorkerError: worker processes died or are stuck.
        Interrupted: a second signal came.
    """
    order = torch.randperm(len(source), generator=seeds.generator(seed, "survey")).tolist()[:images]
    plan = [order[start : start + IMAGES] for start in range(0, len(order), IMAGES)]
    total = Survey(PixelTally(source.channels), [], [], len(order))
    parts, signal = contextlib.closing(_parts(_Surveyor(source, beside or {}), plan, workers)), None
    with StopRequest(speaks=False) as stop, parts as every, bar or contextlib.nullcontext():
        for part in every:
            total.tally.merge(part.tally)
            total.facts.extend(part.facts)
            total.reasons.extend(part.reasons)
            if bar is not None:
                bar.update(total.read, len(order))
            if stop.signal is not None and total.read < len(order):
                signal = stop.signal
                break
    return total._replace(facts=sorted(total.facts), reasons=sorted(total.reasons), signal=signal)


def _parts(surveyor: _Surveyor, plan: list[list[int]], workers: int) -> Generator[Part, None, None]:
    """Of each batch of `plan`; no worker outlives it."""
    how = Loading(workers if len(plan) > 1 else 0, "--images")
    yield from batches(surveyor, plan, as_it_is, how)


@final
class _Surveyor(Dataset[Part]):
    """Looks at a batch of images in a worker."""

    def __init__(self, source: Source, beside: Mapping[str, int]) -> None:
        self.source, self.beside = source, beside

    def __getitems__(self, indices: Sequence[int]) -> Part:
        part = Part(PixelTally(self.source.channels), [], [])
        for _, images in groupby(_small_together(self._readable(indices, part)), key=lambda pair: pair[0]):
            part.tally.add([image for _, image in images])
        return part

    def _readable(self, indices: Sequence[int], part: Part) -> Iterator[Tensor]:
        """The images of `indices` that can be read; facts and reasons go to `part`."""
        for index in indices:
            image, reason = decoded(self.source, index)
            streams = self.beside.items()
            missing = (decoded_of(self.source, index, stream, axes).reason for stream, axes in streams)
            reason = reason or next(filter(None, missing), "")
            if image is None or reason:
                part.reasons.append((index, reason))
            else:
                part.facts.append(_facts(index, image))
                yield image


def _small_together(images: Iterator[Tensor]) -> Iterator[tuple[int, Tensor]]:
    """Each image with the number of the group that is counted together: neighbors of one shape and type."""
    group, values, kind = 0, 0, None
    for image in images:
        values += image.numel()
        if (image.shape, image.dtype) != kind or values > AT_ONCE:
            group, values, kind = group + 1, image.numel(), (image.shape, image.dtype)
        yield group, image


def _facts(index: int, image: Tensor) -> ImageFacts:
    values = image.numpy()  # torch compares no 16-bit values
    constant = _holds(values, lambda x: bool((x == x[:, :1, :1]).all()))
    gray = len(values) > 1 and _holds(values, lambda x: bool((x[1:] == x[:1]).all()))
    _, height, width = values.shape
    return ImageFacts(index, height, width, str(values.dtype), constant, gray)


def _holds(values: Values, is_so: Callable[[Values], bool]) -> bool:
    """Whether `is_so` holds of an image; where it does not, some of the pixels tell so quickly."""
    return is_so(values[:, ::COARSE, ::COARSE]) and is_so(values)
