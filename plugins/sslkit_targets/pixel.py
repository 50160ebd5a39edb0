"""Pixel targets, plain or normalized by patch."""

from __future__ import annotations

import math
from typing import final

from torch import Tensor

from sslkit.functional.patches import grid_crops, grid_patches, patch_statistics
from sslkit.functional.regression_losses import regression
from sslkit.interfaces import Target, Tokens
from sslkit.plugin import Grid


@final
class PixelTarget(Target):
    """Pixels in the order (row, column, channel), or of as many axes as the grid has.

    Normalized, each patch has its mean removed and its deviation divided out (unbiased variance, as `torch.var`).
    """

    def __init__(self, grid: Grid, channels: int, loss: str, *, normalized: bool) -> None:
        super().__init__()
        self.grid, self.loss, self.normalized = grid, loss, normalized
        self.dim = math.prod(grid.sides) * channels

    def forward(self, seen: Tokens, *more: Tokens) -> Tensor:
        """`[V, B, N, dim]`."""
        patches = grid_patches(seen.image, self.grid.sides)
        if not self.normalized:
            return patches
        mean, scale = patch_statistics(patches)
        return (patches - mean) / scale

    def score(self, guess: Tensor, goal: Tensor) -> Tensor:
        """Mean error over the pixels of each patch, `[L]`."""
        return regression(guess, goal, self.loss)

    def to_image(self, guess: Tensor, seen: Tokens, *more: Tokens) -> Tensor:
        """The predictions, with each patch's true mean and scale put back: `[V, B, C, *axes]`."""
        if self.normalized:
            mean, scale = patch_statistics(grid_patches(seen.image, self.grid.sides))
            guess = guess * scale + mean
        return grid_crops(guess, self.grid.shape, self.grid.sides)
