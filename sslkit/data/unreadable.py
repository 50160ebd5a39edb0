"""Images that cannot be read: training takes the next one instead, evaluation leaves them out, and both tell why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from torch import Tensor

from sslkit.core.source import Source, pixels
from sslkit.errors import DataError

T = TypeVar("T")

Reasons = list[tuple[int, str]]
"""(index, reason) of images that could not be read."""
Unreadable = Callable[[int, str], None]
"""Told the index of every image that cannot be read, and why."""
ATTEMPTS = 1000
"""Unreadable images in a row before giving up on finding a readable one."""


class Decoded(NamedTuple):
    """One image, or why there is none."""

    image: Tensor | None
    """`[C, H, W]`, of a type that sources may give."""
    reason: str = ""


def decoded(source: Source, index: int) -> Decoded:
    """Image `index`, if it can be read."""
    try:
        return Decoded(pixels(source.load(index), source.channels))
    except DataError as error:
        return Decoded(None, str(error))


def decoded_of(source: Source, index: int, stream: str, axes: int) -> Decoded:
    """Sample `index` of `stream`, which has so many axes, if it can be read."""
    try:
        return Decoded(sample(source, index, {stream: axes})[stream])
    except DataError as error:
        return Decoded(None, str(error))


def sample(source: Source, index: int, axes: Mapping[str, int]) -> dict[str, Tensor]:
    """Sample `index` of each stream in `axes`, `[C, *axes]`; `axes` says how many they are.

    Raises:
        DataError: one of them is missing or cannot be read.
    """
    return {
        stream: pixels(source.read(index, stream), source.channels_of(stream), count)
        for stream, count in axes.items()
    }


def readable(source: Source, index: int) -> tuple[Tensor, Reasons]:
    """Image `index`, or the next one that can be read, and why others could not. Raises DataError if none can."""
    return _first_of(lambda place: pixels(source.load(place), source.channels), index, len(source))


def readable_sample(source: Source, index: int, axes: Mapping[str, int]) -> tuple[dict[str, Tensor], Reasons]:
    """Sample `index`, or the next one of which every stream in `axes` can be read, and why others could not.

    Raises:
        DataError: none can.
    """
    return _first_of(lambda place: sample(source, place, axes), index, len(source))


def _first_of(read: Callable[[int], T], index: int, count: int) -> tuple[T, Reasons]:
    """What `read` gives of `index`, or of the next one of `count` that it can read."""
    reasons: Reasons = []
    for offset in range(min(count, ATTEMPTS)):
        candidate = (index + offset) % count
        try:
            return read(candidate), reasons
        except DataError as error:
            reasons.append((candidate, str(error)))
    raise DataError(f"{len(reasons)} images in a row cannot be read; the first: {reasons[0][1]}")
