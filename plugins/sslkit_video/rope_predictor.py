"""V-JEPA 2's predictor: predictions of hidden patches from visible ones, with rotary positions."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from sslkit.interfaces import Mask, Tokens
from sslkit.plugin import Grid
from sslkit_video.rotations import RotaryBlock
from sslkit_video.video_blocks import norm_layer


@final
class RopePredictor(nn.Module):
    """Transformer over the visible patches and a mask token for each hidden one (V-JEPA 2 `src/models/predictor.py`).

    Linear weights start from N(0, 0.02), biases and the mask token at 0.
    """

    places: Tensor

    def __init__(
        self, width_in: int, width: int, depth: int, heads: int, grid: Grid, dim_out: int, mlp_ratio: float
    ) -> None:
        super().__init__()
        self.embed = nn.Linear(width_in, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.ModuleList(RotaryBlock(width, heads, mlp_ratio) for _ in range(depth))
        self.norm = norm_layer(width)
        self.head = nn.Linear(width, dim_out)
        axes = torch.meshgrid(*(torch.arange(n) for n in grid.shape), indexing="ij")
        self.register_buffer("places", torch.stack([axis.flatten() for axis in axes]), persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tokens, mask: Mask) -> Tensor:
        """Predictions of the patches of target blocks, `[V * B * M * T, dim_out]`, those of padding included."""
        assert tokens.mask is not None, "the system samples a mask for every pass in drop mode"
        blocks = mask.target_blocks()
        wanted = blocks.flatten(0, 2)
        count = blocks.shape[2]
        kept = tokens.mask.keep[:, :, None].expand(-1, -1, count, -1).flatten(0, 2)
        seen = self.embed(tokens.patch)[:, :, None].expand(-1, -1, count, -1, -1).flatten(0, 2)
        hidden = self.mask_token.to(seen.dtype).expand(len(seen), wanted.shape[1], -1)
        x = torch.cat([seen, hidden], dim=1)
        places = self.places[:, torch.cat([kept, wanted.clamp(min=0)], dim=1)]
        attended = self._attended(wanted, x, padded=mask.blocks is not None)
        for block in self.blocks:
            x = block(x, places, attended)
        out: Tensor = self.head(self.norm(x[:, -wanted.shape[1] :]))
        return out.flatten(0, 1)

    def _attended(self, wanted: Tensor, x: Tensor, *, padded: bool) -> Tensor | None:
        """What is added to attention logits, `[B, 1, 1, K + T]`: minus infinity on padding."""
        if not padded:
            return None
        wide = torch.cat([wanted.new_zeros(len(x), x.shape[1] - wanted.shape[1]), wanted], dim=1) < 0
        return torch.zeros_like(wide, dtype=x.dtype).masked_fill(wide, -torch.inf)[:, None, None]
