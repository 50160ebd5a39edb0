"""Pixel targets, plain or normalized by patch."""

from __future__ import annotations

from typing import final

from torch import Tensor

from sslkit.functional.patches import patch_statistics, patchify, unpatchify
from sslkit.functional.regression_losses import regression
from sslkit.interfaces import Target, Tokens
from sslkit.plugin import Grid


@final
class PixelTarget(Target):
    """Pixels in the order (row, column, channel).

    Normalized, each patch has its mean removed and its deviation divided out (unbiased variance, as `torch.var`).
    """

    def __init__(self, grid: Grid, channels: int, loss: str, *, normalized: bool) -> None:
        super().__init__()
        self.grid, self.loss, self.normalized = grid, loss, normalized
        self.dim = grid.patch**2 * channels

    def forward(self, seen: Tokens, *more: Tokens) -> Tensor:
        """`[V, B, N, dim]`."""
        patches = patchify(seen.image, self.grid.patch)
        if not self.normalized:
            return patches
        mean, scale = patch_statistics(patches)
        return (patches - mean) / scale

    def score(self, guess: Tensor, goal: Tensor) -> Tensor:
        """Mean error over the pixels of each patch, `[L]`."""
        return regression(guess, goal, self.loss)

    def to_image(self, guess: Tensor, seen: Tokens, *more: Tokens) -> Tensor:
        """The predictions, with each patch's true mean and scale put back: `[V, B, C, H, W]`."""
        if self.normalized:
            mean, scale = patch_statistics(patchify(seen.image, self.grid.patch))
            guess = guess * scale + mean
        return unpatchify(guess, self.grid.patch, self.grid.rows)
