"""Cubelets as a target. V crops, B clips, N cubelets."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor

from sslkit.functional.patches import grid_crops, grid_patches
from sslkit.functional.regression_losses import regression
from sslkit.interfaces import Target, Tokens
from sslkit.plugin import Grid, View

EPSILON = 1e-6
"""Beside the deviation, outside of the root (VideoMAE `engine_for_pretraining.py:49-50`)."""


@final
class CubeletTarget(Target):
    """Pixels in [0, 1] in the order (frame, row, column, channel), each channel normalized by itself."""

    mean: Tensor
    std: Tensor

    def __init__(self, grid: Grid, view: View, loss: str, *, normalized: bool) -> None:
        super().__init__()
        self.grid, self.channels, self.loss, self.normalized = grid, view.channels, loss, normalized
        self.dim = math.prod(grid.sides) * view.channels
        shape = (view.channels, *(1,) * len(grid.sides))
        for name, values in (("mean", view.mean), ("std", view.std)):
            table = torch.tensor(values).expand(view.channels).reshape(shape)
            self.register_buffer(name, table, persistent=False)

    def forward(self, seen: Tokens, *more: Tokens) -> Tensor:
        """`[V, B, N, dim]`."""
        cubes = self._cubes(seen.image)
        if self.normalized:
            mean, scale = self._statistics(cubes)
            cubes = (cubes - mean) / scale
        return cubes.flatten(-2)

    def score(self, guess: Tensor, goal: Tensor) -> Tensor:
        """Mean error over the values of each cubelet, `[L]`."""
        return regression(guess, goal, self.loss)

    def to_image(self, guess: Tensor, seen: Tokens, *more: Tokens) -> Tensor:
        """The predictions as clips `[V, B, C, T, H, W]`, with each channel's true mean and scale put back."""
        cubes = guess.unflatten(-1, (-1, self.channels))
        if self.normalized:
            mean, scale = self._statistics(self._cubes(seen.image))
            cubes = cubes * scale + mean
        clips = grid_crops(cubes.flatten(-2), self.grid.shape, self.grid.sides)
        return (clips - self.mean) / self.std

    def _cubes(self, clips: Tensor) -> Tensor:
        """`[V, B, N, t * p * p, C]` in [0, 1]."""
        plain = clips * self.std.to(clips.dtype) + self.mean.to(clips.dtype)
        cubes: Tensor = grid_patches(plain, self.grid.sides).unflatten(-1, (-1, self.channels))
        return cubes

    def _statistics(self, cubes: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of each channel of each cubelet, `[V, B, N, 1, C]`; unbiased."""
        return cubes.mean(-2, keepdim=True), cubes.var(-2, keepdim=True).sqrt() + EPSILON
