"""Fixed two-dimensional sin-cos position embeddings."""

from __future__ import annotations

import torch
from torch import Tensor

WAVELENGTH = 10_000.0


def sincos_positions(dim: int, rows: int, cols: int, *, class_token: bool = False) -> Tensor:
    """`[rows * cols (+ 1), dim]` float64: the column in the first half, the row in the second (MAE `pos_embed.py`).

    Each half is sin then cos of position / 10000^(i / (dim / 4)). MoCo v3 puts the row first; timm puts
    the sines of row and column first, then the cosines.
    With `class_token` a row of zeros stands in front.

    Raises:
        ValueError: `dim` is not a multiple of 4.
    """
    if dim % 4:
        raise ValueError(f"sin-cos positions need a width that is a multiple of 4, found {dim}")
    row, col = torch.meshgrid(
        torch.arange(rows, dtype=torch.float64), torch.arange(cols, dtype=torch.float64), indexing="ij"
    )
    table = torch.cat([_sincos(dim // 2, col.flatten()), _sincos(dim // 2, row.flatten())], dim=1)
    return torch.cat([table.new_zeros(1, dim), table]) if class_token else table


def _sincos(dim: int, position: Tensor) -> Tensor:
    frequency = WAVELENGTH ** -(torch.arange(dim // 2, dtype=torch.float64) / (dim / 2))
    angle = position[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1)
