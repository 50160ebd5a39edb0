"""Inverse block masking, as in CAPI."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor

from sslkit.interfaces import Draw, Masker, Scene
from sslkit.plugin import Grid
from sslkit_maskers.unguided.block import Box, painted


@final
class InverseBlockSampler(Masker):
    """Draws a rectangle of at least the visible count, cuts its last patches off, and rolls it over the edges."""

    def __init__(self, grid: Grid, visible: int, min_aspect: float, roll: bool) -> None:
        super().__init__()
        self.grid, self.roll = grid, roll
        self.visible: int | None = visible
        self.most = grid.patches - visible
        self.log_aspect = tuple(map(math.log, _aspects(grid, visible, min_aspect)))

    def sample(self, draw: Draw, scene: Scene) -> Tensor:
        rows, cols = self.grid.rows, self.grid.cols
        shown = painted(self._rectangle(draw), rows, cols)
        flat = shown.flatten(-2)
        shown = (flat & (flat.cumsum(-1) <= self.grid.patches - self.most)).view_as(shown)
        if self.roll:
            shown = rolled(shown, draw.integers(rows), draw.integers(cols))
        return ~shown.flatten(-2)

    def _rectangle(self, draw: Draw) -> Box:
        """One rectangle for each image; float64, so that devices round alike."""
        count = self.grid.patches - self.most
        low, high = self.log_aspect
        aspect = (low + (high - low) * draw.uniform().double()).exp()
        height = (count * aspect).sqrt().ceil().clamp(max=self.grid.rows)
        width = torch.maximum((count / aspect).sqrt().ceil(), (count / height).ceil()).clamp(
            max=self.grid.cols
        )
        top = draw.uniform().double() * (self.grid.rows - height + 1)
        left = draw.uniform().double() * (self.grid.cols - width + 1)
        return Box(top.long(), left.long(), height.long(), width.long())


def _aspects(grid: Grid, count: int, least: float) -> tuple[float, float]:
    """Least and greatest height / width that the grid has room for; where none in the range has, the nearest."""
    flattest, tallest = count / grid.cols**2, grid.rows**2 / count
    return min(max(least, flattest), tallest), max(min(1 / least, tallest), flattest)


def rolled(shown: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """`shown` `[*rows, R, C]` moved `down` and `right` `[*rows]`; what leaves one edge enters at the other."""
    rows, cols = shown.shape[-2:]
    y = (torch.arange(rows, device=shown.device) - down[..., None]) % rows
    x = (torch.arange(cols, device=shown.device) - right[..., None]) % cols
    source = y[..., :, None] * cols + x[..., None, :]
    return shown.flatten(-2).gather(-1, source.flatten(-2)).view_as(shown)
