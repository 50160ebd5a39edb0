"""Sizes of blocks by scale and aspect, as in I-JEPA. Torch-free."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sslkit.plugin import Grid

LEVELS = 1024
"""Equally likely sizes, between which the reference's are continuous."""

Bounds = tuple[float, float]


class Size(NamedTuple):
    """Of a block, in patches."""

    height: int
    width: int

    @property
    def area(self) -> int:
        """Patches in it."""
        return self.height * self.width


def block_size(grid: Grid, share: float, scale: Bounds, aspect: Bounds, edges: bool = False) -> Size:
    """The block at `share` of the way through both ranges (I-JEPA `src/masks/multiblock.py:56-70`).

    One number gives both, so the largest blocks are the tallest too. Without `edges` a block is at most a row and a
    column smaller than the grid. With them a block of the whole area is the grid, whatever its aspect.
    """
    if edges and scale == (1.0, 1.0):
        return Size(grid.rows, grid.cols)
    area = int(grid.patches * (scale[0] + share * (scale[1] - scale[0])))
    tall = aspect[0] + share * (aspect[1] - aspect[0])
    rest = 0 if edges else 1
    height, width = round(math.sqrt(area * tall)), round(math.sqrt(area / tall))
    return Size(min(height, grid.rows - rest), min(width, grid.cols - rest))


def block_sizes(grid: Grid, scale: Bounds, aspect: Bounds, edges: bool) -> tuple[Size, ...]:
    """`LEVELS` sizes, all as likely."""
    return tuple(block_size(grid, (i + 0.5) / LEVELS, scale, aspect, edges) for i in range(LEVELS))
