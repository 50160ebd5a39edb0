"""Rotary positions along three axes, as in V-JEPA 2. H heads, N tokens, D width of a head."""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from timm.layers import Mlp
from torch import Tensor, nn

from sslkit_video.video_blocks import norm_layer

WAVELENGTH = 10000.0


def rotated(x: Tensor, place: Tensor) -> Tensor:
    """`x` `[..., N, D]` turned by its place along one axis, `[N]` or as `x` without its last axis.

    Neighbors (2i, 2i + 1) turn together, but each by the angle of its own number modulo D / 2, so that it is no true
    rotation; V-JEPA 2 keeps it for the sake of its weights (`src/models/utils/modules.py:26-55`), and so does this.
    """
    half = x.shape[-1] // 2
    omega = WAVELENGTH ** -(torch.arange(half, dtype=torch.float64, device=x.device) / half)
    angle = (place[..., None].double() * omega).to(x.dtype)
    angle = torch.cat([angle, angle], dim=-1)
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack([-second, first], dim=-1).flatten(-2)
    return x * angle.cos() + turned * angle.sin()


def rotated_along(x: Tensor, places: Tensor) -> Tensor:
    """`x` `[B, H, N, D]` turned along each axis in turn, at `places` `[axes, B, N]`; what is left of D stays."""
    part = 2 * (x.shape[-1] // places.shape[0] // 2)
    pieces = [rotated(x[..., i * part : (i + 1) * part], place[:, None]) for i, place in enumerate(places)]
    return torch.cat([*pieces, x[..., part * places.shape[0] :]], dim=-1)


@final
class RotaryBlock(nn.Module):
    """Attention with rotated queries and keys, then a perceptron, each behind a norm."""

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = norm_layer(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = norm_layer(width)
        self.mlp = Mlp(width, int(width * mlp_ratio))

    def forward(self, x: Tensor, places: Tensor, mask: Tensor | None) -> Tensor:
        """`[B, N, width]` at `places` `[axes, B, N]`; `mask` `[B, 1, 1, N]` is added to the logits of keys."""
        qkv = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind()
        seen = F.scaled_dot_product_attention(
            rotated_along(query, places), rotated_along(key, places), value, attn_mask=mask
        )
        x = x + self.proj(seen.transpose(1, 2).flatten(2))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out
