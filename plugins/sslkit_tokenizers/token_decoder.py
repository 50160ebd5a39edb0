"""Transformer decoder of tokenizers: codes of all patches in, a prediction for every patch out."""

from __future__ import annotations

from functools import partial
from typing import final

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from sslkit.nn.initialization import xavier
from sslkit.nn.sincos import sincos_positions
from sslkit.plugin import Grid

_norm = partial(nn.LayerNorm, eps=1e-6)


@final
class TokenDecoder(nn.Module):
    """Transformer over the codes of an image with fixed sin-cos positions, then two layers with a tanh between.

    BEiT v2 `modeling_vqkd.py`: `decoder` and `decode_task_layer`; the reference has learned
    positions and a class token.
    """

    positions: Tensor

    def __init__(self, dim_in: int, width: int, depth: int, heads: int, grid: Grid, dim_out: int) -> None:
        super().__init__()
        self.embed = nn.Linear(dim_in, width)
        table = sincos_positions(width, grid.rows, grid.cols).to(torch.get_default_dtype())
        self.register_buffer("positions", table, persistent=False)
        self.blocks = nn.Sequential(
            *[Block(width, heads, mlp_ratio=4.0, qkv_bias=True, norm_layer=_norm) for _ in range(depth)]
        )
        self.norm = _norm(width)
        self.head = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, dim_out))
        xavier(self)

    def forward(self, codes: Tensor) -> Tensor:
        """Predictions `[V, B, N, dim_out]` from codes `[V, B, N, dim_in]`."""
        x = self.embed(codes).flatten(0, 1)
        predicted = self.head(self.norm(self.blocks(x + self.positions.to(x.dtype))))
        out: Tensor = predicted.unflatten(0, codes.shape[:2])
        return out
