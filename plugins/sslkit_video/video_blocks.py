"""Attention along time and within moments. B clips, T moments, S places, D width."""

from __future__ import annotations

from functools import partial
from typing import final

import torch
from timm.models.vision_transformer import Attention, Block
from torch import Tensor, nn

norm_layer = partial(nn.LayerNorm, eps=1e-6)  # VideoMAE `modeling_pretrain.py:304`


def joint_block(width: int, heads: int, mlp_ratio: float) -> Block:
    """Timm's block, which sees all tokens."""
    return Block(width, heads, mlp_ratio=mlp_ratio, qkv_bias=True, norm_layer=norm_layer)


@final
class DividedBlock(nn.Module):
    """Attention along time, then within each moment, then a perceptron (TimeSformer `vit.py:96-150`).

    The class token takes part within the moments, once in each, and is the mean of what comes out.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float, prefix: int) -> None:
        super().__init__()
        self.prefix = prefix
        self.temporal_norm1 = norm_layer(width)
        self.temporal_attn = Attention(width, num_heads=heads, qkv_bias=True)
        self.temporal_fc = nn.Linear(width, width)
        self.block = joint_block(width, heads, mlp_ratio)

    def forward(self, x: Tensor, moments: int) -> Tensor:
        """`[B, prefix + T * S, D]` of T `moments` -> the same."""
        front, patches = x[:, : self.prefix], x[:, self.prefix :]
        moving = patches.unflatten(1, (moments, -1)).transpose(1, 2).flatten(0, 1)  # [B * S, T, D]
        moved = self.temporal_fc(self.temporal_attn(self.temporal_norm1(moving)))
        patches = patches + moved.unflatten(0, (len(x), -1)).transpose(1, 2).flatten(1, 2)
        fronts = front.repeat_interleave(moments, 0)
        still = torch.cat([fronts, patches.unflatten(1, (moments, -1)).flatten(0, 1)], 1)  # [B * T, S, D]
        spatial = self.block
        seen = spatial.attn(spatial.norm1(still)).unflatten(0, (len(x), -1))
        whole = torch.cat([front, patches], 1) + torch.cat(
            [seen[:, :, : self.prefix].mean(1), seen[:, :, self.prefix :].flatten(1, 2)], 1
        )
        out: Tensor = whole + spatial.mlp(spatial.norm2(whole))
        return out
