"""Pixels of each patch, plain or normalized."""

from __future__ import annotations

from typing import final

from torch import Tensor

from sslkit.core.env import Grid
from sslkit.core.passes import Tokens
from sslkit.core.target import Target
from sslkit.functional.losses import regression
from sslkit.functional.patches import patchify, unpatchify

VARIANCE_EPS = 1e-6  # MAE `models_mae.py:208`


@final
class PixelTarget(Target):
    """Pixels in the order (row, column, channel)."""

    def __init__(self, grid: Grid, channels: int, loss: str) -> None:
        super().__init__()
        self.grid, self.loss = grid, loss
        self.dim = grid.patch**2 * channels

    def forward(self, seen: Tokens, *more: Tokens) -> Tensor:
        """`[V, B, N, dim]`."""
        return patchify(seen.image, self.grid.patch)

    def score(self, guess: Tensor, goal: Tensor) -> Tensor:
        """Mean error over the pixels of each patch, `[L]`."""
        return regression(guess, goal, self.loss)

    def to_image(self, guess: Tensor, seen: Tokens) -> Tensor:
        """The predictions put together, `[V, B, C, H, W]`."""
        return unpatchify(guess, self.grid.patch, self.grid.rows)


@final
class NormalizedPixelTarget(Target):
    """Pixels of each patch minus their mean, over their deviation (unbiased variance, as `torch.var`)."""

    def __init__(self, grid: Grid, channels: int, loss: str) -> None:
        super().__init__()
        self.grid, self.loss = grid, loss
        self.dim = grid.patch**2 * channels

    def forward(self, seen: Tokens, *more: Tokens) -> Tensor:
        """`[V, B, N, dim]`."""
        mean, scale = self._statistics(seen)
        return (patchify(seen.image, self.grid.patch) - mean) / scale

    def score(self, guess: Tensor, goal: Tensor) -> Tensor:
        """Mean error over the pixels of each patch, `[L]`."""
        return regression(guess, goal, self.loss)

    def to_image(self, guess: Tensor, seen: Tokens) -> Tensor:
        """The predictions with each patch's true mean and scale put back, `[V, B, C, H, W]`."""
        mean, scale = self._statistics(seen)
        return unpatchify(guess * scale + mean, self.grid.patch, self.grid.rows)

    def _statistics(self, seen: Tokens) -> tuple[Tensor, Tensor]:
        patches = patchify(seen.image, self.grid.patch)
        variance = patches.var(dim=-1, keepdim=True)
        return patches.mean(dim=-1, keepdim=True), (variance + VARIANCE_EPS).sqrt()
