"""Patch counts of guided maskers. Torch-free."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from sslkit_maskers.patch_counts import part, require_both, visible_count

if TYPE_CHECKING:
    from sslkit.plugin import Grid


class Counts(NamedTuple):
    """Patches of an image by what becomes of them."""

    visible: int
    hidden: int
    guided: int
    """Those of the hidden ones that the guide decides; the others are random."""


def counts_of(grid: Grid, ratio: float, share: float) -> Counts:
    """Counts at `ratio` hidden, `share` of them guided. Raises SpecError where none or every patch would be hidden."""
    visible = visible_of(grid, ratio)
    hidden = grid.patches - visible
    return Counts(visible, hidden, share_of(hidden, share))


def visible_of(grid: Grid, ratio: float) -> int:
    """Patches left visible, floor(N (1 - `ratio`)). Raises SpecError where no patch or every one would be hidden."""
    visible = visible_count(grid.patches, ratio)
    require_both(visible, grid, f"ratio {ratio}", "the ratio or the patch")
    return visible


def share_of(count: int, *shares: float) -> int:
    """Floor of `count` times all `shares`, computed exactly."""
    return math.floor(math.prod((part(1, share) for share in shares), start=Fraction(count)))
