"""Block-wise masking, as in BEiT, iBOT and DINOv2."""

from __future__ import annotations

import math
from typing import NamedTuple, final

import torch
from torch import Tensor
from torch.nn import functional as F

from sslkit.interfaces import Draw, Masker, Scene
from sslkit.plugin import Grid

ATTEMPTS = 10
"""Boxes tried for each block (`masking_generator.py` of BEiT)."""
BLOCKS = 24
"""Most blocks of a mask. The references have no limit; at half of 14 x 14 patches and blocks from 4 they set 7 in the
mean and 16 in the longest of 1,500 masks, at three quarters 10 and 20."""


class Box(NamedTuple):
    """Rectangles of patches; every tensor has the same shape."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor


@final
class BlockSampler(Masker):
    """Sets blocks of random area, shape and place until a mask is full or no attempt fits."""

    visible = None

    def __init__(self, grid: Grid, low: float, high: float, min_block: int, min_aspect: float,
                 share: float = 1.0, whole: bool = False) -> None:  # fmt: skip
        """A sampler.

        Args:
            grid: the patches.
            low: least patches to aim at.
            high: most patches to aim at; uniform in between. A mask has at most the floor of its goal.
            min_block: area, in patches, of the smallest blocks.
            min_aspect: least height / width of a block; the greatest is its inverse.
            share: probability that an image gets a mask at all.
            whole: round goals down before blocks are drawn, as BEiT and DINOv2 do and iBOT does not.
        """
        super().__init__()
        self.grid, self.low, self.high = grid, low, high
        self.min_block, self.log_aspect = min_block, abs(math.log(min_aspect))
        self.share, self.whole = share, whole
        self.most = math.floor(high)

    def sample(self, draw: Draw, scene: Scene) -> Tensor:
        rows, cols = self.grid.rows, self.grid.cols
        goal = self._goals(draw)
        hidden = torch.zeros(*draw.shape, rows, cols, dtype=torch.bool, device=draw.device)
        going = torch.ones_like(goal, dtype=torch.bool)
        for _ in range(BLOCKS):
            room = (goal - hidden.sum((-2, -1)))[..., None]
            box = self._boxes(draw, room)
            added = box.height * box.width - covered(hidden, box)
            fits = (box.height < rows) & (box.width < cols) & (added > 0) & (added <= room)
            going = going & fits.any(-1)
            first = fits & (fits.cumsum(-1) == 1) & going[..., None]
            placed = Box(*((part * first).sum(-1) for part in box))  # of no extent where none fits
            hidden = hidden | painted(placed, rows, cols)
        return hidden.flatten(-2)

    def _goals(self, draw: Draw) -> Tensor:
        """Patches to hide in each image, `[*rows]` float64."""
        goal = self.low + (self.high - self.low) * draw.uniform().double()
        masked = draw.chance(self.share)
        return (goal.floor() if self.whole else goal) * masked

    def _boxes(self, draw: Draw, room: Tensor) -> Box:
        """A box for each attempt, `[*rows, ATTEMPTS]`; float64, so that devices round alike."""
        area, shape, y, x = draw.uniform(4, ATTEMPTS).double().unbind(-2)
        area = self.min_block + (room - self.min_block) * area
        aspect = (self.log_aspect * (2 * shape - 1)).exp()
        height = (area * aspect).clamp(min=0).sqrt().round()
        width = (area / aspect).clamp(min=0).sqrt().round()
        top = y * (self.grid.rows - height + 1).clamp(min=0)
        left = x * (self.grid.cols - width + 1).clamp(min=0)
        return Box(top.long(), left.long(), height.long(), width.long())


def covered(hidden: Tensor, box: Box) -> Tensor:
    """Patches of `hidden` `[*rows, R, C]` inside each box, `[*rows, K]`. Parts outside the grid count 0."""
    rows, cols = hidden.shape[-2:]
    sums = F.pad(hidden.long().cumsum(-2).cumsum(-1), (1, 0, 1, 0)).flatten(-2)
    bottom, right = (box.top + box.height).clamp(max=rows), (box.left + box.width).clamp(max=cols)

    def before(y: Tensor, x: Tensor) -> Tensor:
        return sums.gather(-1, y * (cols + 1) + x)

    return (
        before(bottom, right) - before(box.top, right) - before(bottom, box.left) + before(box.top, box.left)
    )


def painted(box: Box, rows: int, cols: int) -> Tensor:
    """True inside each box, `[*box, rows, cols]`."""
    down = inside(box.top, box.height, rows)
    return down[..., :, None] & inside(box.left, box.width, cols)[..., None, :]


def inside(start: Tensor, length: Tensor, total: int) -> Tensor:
    """True at `start` and the `length` - 1 places after it, `[*start, total]`."""
    place = torch.arange(total, device=start.device)
    return (place >= start[..., None]) & (place < (start + length)[..., None])
