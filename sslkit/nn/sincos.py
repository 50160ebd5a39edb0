"""Fixed sin-cos position embeddings, of two axes and of any number."""

from __future__ import annotations

from collections.abc import Sequence

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


def grid_positions(dim: int, shape: Sequence[int], *, class_token: bool = False) -> Tensor:
    """`[prod(shape) (+ 1), dim]` float64 for a grid of any number of axes; of two, those of `sincos_positions`.

    Each axis has an equal part of the width, the last axis first, rounded up to even numbers; what is then too much of
    the first axis is cut off, as V-JEPA does (`pos_embs.py`, `uniform_power`).

    Raises:
        ValueError: `dim` cannot hold a sine and a cosine of each axis, or is no multiple of 4 with two axes.
    """
    if len(shape) == 2:
        return sincos_positions(dim, shape[0], shape[1], class_token=class_token)
    part = 2 * -(-dim // (2 * len(shape)))
    if dim <= part * (len(shape) - 1):
        raise ValueError(f"sin-cos positions of {len(shape)} axes need a larger width than {dim}")
    places = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in shape), indexing="ij")
    table = torch.cat([_sincos(part, place.flatten()) for place in reversed(places)], dim=1)[:, :dim]
    return torch.cat([table.new_zeros(1, dim), table]) if class_token else table


def flat_positions(dim: int, count: int) -> Tensor:
    """`[count, dim]` float64: one position along all patches, sines and cosines in turns (VideoMAE).

    `modeling_finetune.py`, `get_sinusoid_encoding_table`.
    """
    exponent = torch.div(torch.arange(dim, dtype=torch.float64), 2, rounding_mode="floor") * 2 / dim
    angle = torch.arange(count, dtype=torch.float64)[:, None] / WAVELENGTH**exponent
    return torch.where(torch.arange(dim) % 2 == 0, angle.sin(), angle.cos())


def _sincos(dim: int, position: Tensor) -> Tensor:
    frequency = WAVELENGTH ** -(torch.arange(dim // 2, dtype=torch.float64) / (dim / 2))
    angle = position[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1)
