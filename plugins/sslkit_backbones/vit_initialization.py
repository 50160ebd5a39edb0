"""Weight initialization and sin-cos positions of vision transformers."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from sslkit.nn.initialization import rescale_residuals, truncated_normal, truncated_normal_, xavier
from sslkit.nn.sincos import sincos_positions
from sslkit_backbones.timm_types import ViTNet

Init = Literal["mae", "beit", "timm"]


MOST_PREFIX = 17
"""Tokens in front of the patches, and one more (DINOv3: 5)."""


def initialize(net: ViTNet, positions: str, init: Init) -> None:
    """Positions, where they are `sincos`, and weights; `timm` leaves what timm drew."""
    if positions == "sincos":
        _fix_positions(net)
    if init == "mae":
        _as_mae(net)
    elif init == "beit":
        _as_beit(net)


def mask_token(dim: int, init: Init) -> nn.Parameter:
    """`[1, 1, dim]` from N(0, 0.02), cut off at one deviation where BEiT's weights are asked for, as those are."""
    if init == "beit":
        return nn.Parameter(truncated_normal_(torch.empty(1, 1, dim)))
    return nn.Parameter(torch.randn(1, 1, dim) * 0.02)


def _fix_positions(net: ViTNet) -> None:
    """MAE's sin-cos table, with zeros for the tokens in front (`models_mae.py:68-74`)."""
    rows, cols = net.patch_embed.grid_size
    table = sincos_positions(int(net.embed_dim), rows, cols)
    extra = net.pos_embed.shape[1] - len(table)
    table = torch.cat([table.new_zeros(extra, table.shape[1]), table])
    net.pos_embed = nn.Parameter(table.to(net.pos_embed.dtype)[None], requires_grad=False)


def is_sincos(table: Tensor) -> bool:
    """Whether positions `[1, T, D]` are a sin-cos table, MAE's or MoCo v3's, behind some tokens.

    True as well where no square grid fits, so that nothing is known.
    """
    count, width = table.shape[1:]
    sides = [(extra, math.isqrt(count - extra)) for extra in range(min(count, MOST_PREFIX))]
    grids = [(extra, side) for extra, side in sides if side * side == count - extra]
    if width % 4 or not grids:
        return width % 4 == 0
    return any(_is_sincos(table[0, extra:].cpu().double(), side) for extra, side in grids)


def _is_sincos(patches: Tensor, side: int) -> bool:
    columns_first = sincos_positions(patches.shape[1], side, side)
    rows_first = columns_first.roll(patches.shape[1] // 2, dims=1)
    return any(torch.allclose(patches, table, atol=1e-3) for table in (columns_first, rows_first))


def _as_mae(net: ViTNet) -> None:
    """`models_mae.py:76-93`."""
    xavier(net)
    nn.init.xavier_uniform_(net.patch_embed.proj.weight.data.flatten(1))
    for token in _front(net):
        nn.init.normal_(token, std=0.02)


def _as_beit(net: ViTNet) -> None:
    """`beit/modeling_pretrain.py:69-101`; SimMIM's vision transformer starts alike."""
    truncated_normal(net)
    rescale_residuals(net.blocks)
    for token in _front(net):
        truncated_normal_(token)
    positions: Tensor | None = getattr(net, "pos_embed", None)
    if positions is not None and positions.requires_grad:
        truncated_normal_(positions)
    if getattr(net, "shared_rel_pos", None) is not None:
        nn.init.zeros_(net.shared_rel_pos.relative_position_bias_table)


def _front(net: ViTNet) -> list[Tensor]:
    """Class and register tokens."""
    return [t for t in (net.cls_token, getattr(net, "reg_token", None)) if t is not None]
