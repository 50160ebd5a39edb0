"""A transformer whose tokens also attend to another network's. B samples, L tokens, M tokens of the other, D width."""

from __future__ import annotations

from typing import final

import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-12
"""Of BERT's layer norms."""


@final
class Attention(nn.Module):
    """Multi-head attention of tokens to a context, which may be themselves."""

    def __init__(self, width: int, context_width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.proj = nn.Linear(width, width), nn.Linear(width, width)
        self.key, self.value = nn.Linear(context_width, width), nn.Linear(context_width, width)

    def forward(self, x: Tensor, context: Tensor, visible: Tensor | None) -> Tensor:
        """`[B, L, D]` and `[B, M, C]` -> `[B, L, D]`. `visible`: `[B, M]` bool, what may be attended to."""
        query, key, value = (
            layer(rows).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, rows in ((self.query, x), (self.key, context), (self.value, context))
        )
        mask = None if visible is None else visible[:, None, None]
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        out: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return out


@final
class FusionBlock(nn.Module):
    """BERT's layer with cross-attention: each part beside a shortcut, then a layer norm."""

    def __init__(self, width: int, context_width: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(width, width, heads)
        self.cross_attention = Attention(width, context_width, heads)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width, eps=EPSILON) for _ in range(3))

    def forward(
        self, x: Tensor, visible: Tensor | None, context: Tensor, context_visible: Tensor | None
    ) -> Tensor:
        """`[B, L, D]` -> the same."""
        x = self.norm1(x + self.attention(x, x, visible))
        x = self.norm2(x + self.cross_attention(x, context, context_visible))
        out: Tensor = self.norm3(x + self.fc2(F.gelu(self.fc1(x))))
        return out


@final
class FusionNetwork(nn.Module):
    """ALBEF's multimodal encoder: the upper half of BERT, with cross-attention in every layer."""

    def __init__(self, width: int, context_width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(FusionBlock(width, context_width, heads) for _ in range(depth))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(
        self,
        x: Tensor,
        visible: Tensor | None,
        context: Tensor,
        context_visible: Tensor | None = None,
    ) -> Tensor:
        """Tokens `[B, L, D]` that have seen the `context` `[B, M, C]`.

        Args:
            x: what asks.
            visible: `[B, L]` bool, those of `x` that others may attend to; None for all.
            context: what is asked.
            context_visible: `[B, M]` bool, likewise.
        """
        for block in self.blocks:
            x = block(x, visible, context, context_visible)
        return x
