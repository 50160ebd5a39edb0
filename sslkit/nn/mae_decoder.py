"""MAE decoder: predictions for every patch from visible tokens."""

from __future__ import annotations

from functools import partial
from typing import final

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from sslkit.core.passes import Mask, Tokens
from sslkit.core.view import Grid
from sslkit.nn.initialization import xavier
from sslkit.nn.sincos import grid_positions

_norm = partial(nn.LayerNorm, eps=1e-6)  # MAE `models_mae.py:227`


@final
class PatchDecoder(nn.Module):
    """Transformer over visible tokens and one shared mask token (MAE `models_mae.py:172-196`).

    The class token is kept while decoding and removed after. Positions are fixed sin-cos, added to all tokens.
    """

    positions: Tensor

    def __init__(
        self,
        width_in: int,
        width: int,
        depth: int,
        heads: int,
        grid: Grid,
        dim_out: int,
        *,
        class_token: bool = True,
        bias: bool = True,
        positions: Tensor | None = None,
        mlp_ratio: float = 4.0,
    ) -> None:
        """Defaults are MAE's.

        Args:
            width_in: of the encoder's tokens.
            width: of the decoder's.
            depth: blocks.
            heads: attention heads.
            grid: the patches, along any number of axes.
            dim_out: length of a prediction.
            class_token: whether the class token takes part.
            bias: of the layer from one width to the other.
            positions: `[N, width]`, in place of sin-cos ones along the axes of the grid.
            mlp_ratio: width of the perceptrons, in widths.
        """
        super().__init__()
        self.class_token = class_token
        self.embed = nn.Linear(width_in, width, bias=bias)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        table = grid_positions(width, grid.shape) if positions is None else positions
        if class_token:
            table = torch.cat([table.new_zeros(1, width), table])
        self.register_buffer("positions", table.to(torch.get_default_dtype())[None], persistent=False)
        self.blocks = nn.Sequential(
            *[Block(width, heads, mlp_ratio=mlp_ratio, qkv_bias=True, norm_layer=_norm) for _ in range(depth)]
        )
        self.norm = _norm(width)
        self.head = nn.Linear(width, dim_out)
        xavier(self)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, tokens: Tokens, mask: Mask | None = None) -> Tensor:
        """Predictions of all patches, `[V, B, N, dim_out]`, from tokens encoded in `drop` mode.

        With `mask`, of its hidden patches only, `[L, dim_out]`: the last layer is then spared the others.
        """
        whole = [tokens.cls[:, :, None], tokens.patch] if self.class_token else [tokens.patch]
        visible = self.embed(torch.cat(whole, dim=2)).flatten(0, 1)
        x = self._unshuffle(visible, tokens) + self.positions.to(visible.dtype)
        decoded = self.blocks(x)[:, len(whole) - 1 :].unflatten(0, tokens.patch.shape[:2])
        out: Tensor = self.head(self.norm(decoded if mask is None else mask.pick(decoded)))
        return out

    def _unshuffle(self, visible: Tensor, tokens: Tokens) -> Tensor:
        """Visible tokens at their places, the mask token elsewhere: `[V * B, (1 +) N, width]`."""
        assert tokens.mask is not None, "the system samples a mask for every pass in drop mode"
        count = tokens.mask.hidden.shape[-1]
        keep = tokens.mask.keep.flatten(0, 1)[..., None].expand(-1, -1, visible.shape[-1])
        patches = self.mask_token.to(visible.dtype).expand(len(visible), count, -1)
        front = int(self.class_token)
        return torch.cat([visible[:, :front], patches.scatter(1, keep, visible[:, front:])], dim=1)
