"""Patch tokens as maps: resampled from one grid of patches to another."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from sslkit.functional.precision import at_least_float32

Resampling = Literal["bicubic", "bilinear"]
"""How values between patches come about."""
Sides = tuple[int, int]
"""Rows and columns."""


def resample_patches(
    patches: Tensor, sides: Sides, goal: Sides, how: Resampling = "bicubic", *, antialias: bool = False
) -> Tensor:
    """Patches of a grid of `sides` as those of a grid of `goal` that covers the same image.

    Args:
        patches: `[..., N, D]` in rows, N the product of `sides`.
        sides: rows and columns that there are.
        goal: rows and columns that are wanted.
        how: of torch's `interpolate`, corners not aligned.
        antialias: average over what a larger patch covers where the grid shrinks.

    Returns:
        `[..., M, D]`, in at least float32; `patches` itself where the grids are equal.
    """
    if sides == goal:
        return patches
    maps = at_least_float32(patches).mT.unflatten(-1, sides).flatten(0, -4)
    maps = F.interpolate(maps, goal, mode=how, align_corners=False, antialias=antialias)
    resampled: Tensor = maps.flatten(-2).mT.unflatten(0, patches.shape[:-2])
    return resampled
