"""Images that cannot be read: training takes the next one instead, evaluation leaves them out, and both tell why."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from sslkit.core.source import Source, pixels
from sslkit.errors import DataError

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


def readable(source: Source, index: int) -> tuple[Tensor, Reasons]:
    """Image `index`, or the next one that can be read, and why others could not. Raises DataError if none can."""
    reasons: Reasons = []
    for offset in range(min(len(source), ATTEMPTS)):
        candidate = (index + offset) % len(source)
        image, reason = decoded(source, candidate)
        if image is not None:
            return image, reasons
        reasons.append((candidate, reason))
    raise DataError(f"{len(reasons)} images in a row cannot be read; the first: {reasons[0][1]}")
