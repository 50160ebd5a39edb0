"""Exact patch counts from masking ratios. Torch-free."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

from sslkit.plugin import SpecError

if TYPE_CHECKING:
    from sslkit.plugin import Grid


def part(patches: int, ratio: float) -> Fraction:
    """`patches` times the ratio as a person wrote it; float products end up one too low or too high."""
    return patches * Fraction(repr(ratio))


def visible_count(patches: int, ratio: float) -> int:
    """floor(`patches` (1 - `ratio`)), exactly: float products would be one too low for (100, 0.9) and its like."""
    return math.floor(patches - part(patches, ratio))


def require_both(visible: int, grid: Grid, what: str, way_out: str) -> None:
    """Raise SpecError unless some of the patches stay and some are hidden.

    Args:
        visible: patches that would stay.
        grid: the patches.
        what: the field that decides, and its value.
        way_out: what to change, for the message.
    """
    if not 0 < visible < grid.patches:
        raise SpecError(
            f"{what} hides {grid.patches - visible} of {grid.patches} patches "
            f"({grid.rows} x {grid.cols}); at least one must stay and one be hidden: change {way_out}"
        )
