"""I-JEPA predictor: predictions of target blocks from context tokens and positions."""

from __future__ import annotations

from functools import partial
from typing import final

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from sslkit.core.passes import Mask, Tokens
from sslkit.core.view import Grid
from sslkit.functional.known_values import known_now
from sslkit.functional.submodules import submodules
from sslkit.nn.sincos import grid_positions

_norm = partial(nn.LayerNorm, eps=1e-6)  # I-JEPA `vision_transformer.py`, `vit_predictor`


@final
class BlockPredictor(nn.Module):
    """Transformer over the context and one target block at a time (I-JEPA `vision_transformer.py:285-326`).

    A target patch is a shared mask token and its position; positions are fixed sin-cos. All blocks of all images are
    one batch. It reads no class token. Linear weights start from N(0, 0.02), biases at 0 (`helper.py:86-99`, which
    undoes the division by depth before it).
    """

    positions: Tensor

    def __init__(self, width_in: int, width: int, depth: int, heads: int, grid: Grid, dim_out: int) -> None:
        super().__init__()
        self.embed = nn.Linear(width_in, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        table = grid_positions(width, grid.shape).to(torch.get_default_dtype())
        self.register_buffer("positions", table, persistent=False)
        self.blocks = nn.ModuleList(
            Block(width, heads, mlp_ratio=4.0, qkv_bias=True, norm_layer=_norm) for _ in range(depth)
        )
        self.norm = _norm(width)
        self.head = nn.Linear(width, dim_out)
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        for linear in submodules(self, nn.Linear):
            nn.init.trunc_normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)

    def forward(self, tokens: Tokens, mask: Mask | None = None) -> Tensor:
        """Predictions of all patches as one block, `[V, B, N, dim_out]`, from tokens encoded in `drop` mode.

        With `mask`, of the patches of its target blocks, `[V * B * M * T, dim_out]`, those of padding included.
        """
        if mask is None:
            patches = torch.arange(len(self.positions), device=tokens.patch.device)
            every = patches.expand(*tokens.patch.shape[:2], 1, -1)
            out: Tensor = self._predict(tokens, every, None).unflatten(0, tokens.patch.shape[:2])
            return out
        blocks = mask.target_blocks()
        padded = None if mask.blocks is None else blocks.flatten(0, 2) < 0
        if padded is not None and known_now(padded) and not bool(padded.any()):
            padded = None  # attention without a mask is faster
        return self._predict(tokens, blocks.clamp(min=0), padded).flatten(0, 1)

    def _predict(self, tokens: Tokens, blocks: Tensor, padded: Tensor | None) -> Tensor:
        """`[V * B * M, T, dim_out]` for the patches `blocks` `[V, B, M, T]`."""
        assert tokens.mask is not None, "the system samples a mask for every pass in drop mode"
        seen = self.embed(tokens.patch)
        positions = self.positions.to(seen.dtype)
        context = (seen + positions[tokens.mask.keep])[:, :, None].expand(-1, -1, blocks.shape[2], -1, -1)
        wanted = (self.mask_token.to(seen.dtype) + positions[blocks]).flatten(0, 2)
        x = torch.cat([context.flatten(0, 2), wanted], dim=1)
        attended = None if padded is None else self._attended(padded, x)
        for block in self.blocks:
            x = block(x, attn_mask=attended)
        out: Tensor = self.head(self.norm(x[:, -blocks.shape[-1] :]))
        return out

    def _attended(self, padded: Tensor, x: Tensor) -> Tensor:
        """What is added to attention logits: `[V * B * M, 1, 1, K + T]`, minus infinity on padding."""
        wide = torch.cat([padded.new_zeros(len(x), x.shape[1] - padded.shape[1]), padded], dim=1)
        return torch.zeros_like(wide, dtype=x.dtype).masked_fill(wide, -torch.inf)[:, None, None]
