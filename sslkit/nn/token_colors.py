"""Rendering of tokens as colors."""

from __future__ import annotations

import torch
from torch import Tensor

from sslkit.core.view import Grid
from sslkit.functional.resize import enlarged


def code_colors(codes_Kd: Tensor, channels: int) -> Tensor:
    """`[K, channels]` in [0, 1]: ranks along the first principal components, so that codes alike have colors alike."""
    centered = codes_Kd.float() - codes_Kd.float().mean(0)
    directions = torch.linalg.svd(centered, full_matrices=False).Vh[:channels]
    ranks = (centered @ directions.T).argsort(dim=0).argsort(dim=0)
    colors = codes_Kd.new_full((len(codes_Kd), channels), 0.5, dtype=torch.float32)
    colors[:, : len(directions)] = ranks / max(1, len(codes_Kd) - 1)
    return colors


def fixed_colors(count: int, channels: int) -> Tensor:
    """`[count, channels]` in [0, 1], random and always the same."""
    return torch.rand(count, channels, generator=torch.Generator().manual_seed(0))


def token_image(ids_VBN: Tensor, colors_KC: Tensor, grid: Grid) -> Tensor:
    """Every patch in the color of its token: `[V, B, C, H, W]`."""
    image: Tensor = colors_KC[ids_VBN].unflatten(2, (grid.rows, grid.cols)).movedim(-1, 2)
    return enlarged(image, grid.patch)
