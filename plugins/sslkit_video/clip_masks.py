"""Maskers of clips. T moments of S places each."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor

from sslkit.functional.patches import grid_patches
from sslkit.interfaces import Draw, Masker, Scene
from sslkit.plugin import Grid


class _Moments(Masker):
    """A clip's cubelets, of which equally many are hidden in every clip."""

    def __init__(self, grid: Grid, hidden: int, each: int) -> None:
        """`hidden` things that are drawn, of `each` cubelets."""
        super().__init__()
        self.grid, self.hidden = grid, hidden
        self.moments, self.places = grid.shape[0], math.prod(grid.shape[1:])
        self.most = hidden * each
        self.visible = grid.patches - self.most


@final
class TubeMasker(_Moments):
    """The same places in every moment."""

    def __init__(self, grid: Grid, hidden: int) -> None:
        super().__init__(grid, hidden, grid.shape[0])

    def sample(self, draw: Draw, scene: Scene) -> Tensor:
        return tubes(draw.uniform(self.places), self.hidden, self.moments)


@final
class MomentMasker(_Moments):
    """Whole moments: any, or the last."""

    def __init__(self, grid: Grid, hidden: int, *, causal: bool) -> None:
        super().__init__(grid, hidden, math.prod(grid.shape[1:]))
        self.causal = causal

    def sample(self, draw: Draw, scene: Scene) -> Tensor:
        if self.causal:
            places = torch.arange(self.moments, device=draw.device).float().expand(*draw.shape, -1)
        else:
            places = draw.uniform(self.moments)
        return highest(places, self.hidden).repeat_interleave(self.places, -1)


@final
class MotionTubeMasker(_Moments):
    """Tubes at places drawn without replacement, with weights of how much moves there."""

    def __init__(self, grid: Grid, hidden: int, strength: float) -> None:
        super().__init__(grid, hidden, grid.shape[0])
        self.strength = strength

    def sample(self, draw: Draw, scene: Scene) -> Tensor:
        """Keys u^(1 / w) of Efraimidis and Spirakis (2006), as their logarithms."""
        weights = motion(scene.image, self.grid) ** self.strength
        chances = torch.log(draw.uniform(self.places).clamp(min=1e-12)) / weights.clamp(min=1e-6)
        return tubes(chances, self.hidden, self.moments)


def motion(clips: Tensor, grid: Grid) -> Tensor:
    """`[..., C, T, H, W]` -> `[..., S]` float32: change from frame to frame at each place, of mean 1 in every clip.

    A tenth of the mean is added, so that still places can be drawn; a clip where nothing moves has equal weights.
    """
    change = clips.float().diff(dim=-3).abs().mean(dim=(-4, -3), keepdim=False)[..., None, :, :]
    places = grid_patches(change, grid.sides[1:]).mean(-1)
    mean = places.mean(-1, keepdim=True)
    return (places + 0.1 * mean + 1e-9) / (1.1 * mean + 1e-9)


def tubes(values: Tensor, count: int, moments: int) -> Tensor:
    """True in every moment at the `count` places of the highest `values` `[..., S]`: `[..., T * S]`."""
    hidden = highest(values, count)
    return hidden.repeat(*(1,) * (hidden.ndim - 1), moments)


def highest(values: Tensor, count: int) -> Tensor:
    """True at the `count` highest values of each row, ties by position."""
    ranks = values.argsort(dim=-1, stable=True).argsort(dim=-1)
    return ranks >= values.shape[-1] - count
