"""Relative position biases and rotary embeddings for timm's transformer blocks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from timm.layers.pos_embed_rel import RelPosBias, gen_relative_position_index
from timm.models.beit import Beit, RelativePositionBias
from timm.models.eva import Eva
from timm.models.vision_transformer_relpos import VisionTransformerRelPos
from torch import Tensor

from sslkit_backbones.resample_bias import resampled_table
from sslkit_backbones.timm_types import ViTNet


class Geometry(NamedTuple):
    """Relative places of the tokens of a batch. Without a batch dimension it holds for every image."""

    bias: Tensor | None = None
    """`[(B,) heads, L, L]`, added to the attention scores, of all tokens in front too."""
    rope: Tensor | None = None
    """`[N, 2 d]` or `[B, 1, K, 2 d]`: sines and cosines of each patch; blocks in front where they differ by block."""


def is_relative(net: ViTNet) -> bool:
    """Whether `net` needs a `Geometry`."""
    return _shared_table(net) is not None or getattr(net, "rope", None) is not None


def geometry(net: ViTNet, rows: int, cols: int, keep: Tensor | None) -> Geometry:
    """The places of a grid's patches, or of those that `keep` `[B, K]` names, image by image."""
    shared = _shared_table(net)
    if shared is not None:
        return Geometry(bias=_bias(shared, int(net.num_prefix_tokens), rows, cols, keep))
    if getattr(net, "rope", None) is not None:
        return Geometry(rope=_rope(net, rows, cols, keep))
    return Geometry()


def block_arguments(net: ViTNet, where: Geometry, block: int) -> dict[str, Tensor | None]:
    """Arguments of the forward of block number `block` beside the tokens."""
    if isinstance(net, Beit):
        return {"shared_rel_pos_bias": where.bias}
    if isinstance(net, VisionTransformerRelPos):
        return {"shared_rel_pos": where.bias}
    if isinstance(net, Eva):
        return {"rope": rope_of(net, where, block)}
    return {}


def rope_of(net: ViTNet, where: Geometry, block: int) -> Tensor | None:
    """The rotation of block number `block`."""
    mixed = where.rope is not None and net.rope_mixed
    return where.rope[block] if mixed and where.rope is not None else where.rope


def _shared_table(net: ViTNet) -> RelativePositionBias | RelPosBias | None:
    """The bias that all blocks share, where a network has one."""
    bias: RelativePositionBias | RelPosBias | None = getattr(net, "rel_pos_bias", None)
    return bias if bias is not None else getattr(net, "shared_rel_pos", None)


def _bias(
    shared: RelativePositionBias | RelPosBias, prefix: int, rows: int, cols: int, keep: Tensor | None
) -> Tensor:
    """The bias between all tokens of a grid, or between those in front and the ones kept."""
    table: Tensor = shared.relative_position_bias_table
    if (rows, cols) != tuple(shared.window_size):
        table = resampled_table(table, tuple(shared.window_size), (rows, cols), extra=3 * prefix)
    index = gen_relative_position_index((rows, cols), class_token=prefix > 0, device=table.device)
    if keep is None:
        return table[index].permute(2, 0, 1)
    front = torch.arange(prefix, device=keep.device).expand(len(keep), -1)
    tokens = torch.cat([front, keep + prefix], dim=1)
    return table[index[tokens[:, :, None], tokens[:, None]]].permute(0, 3, 1, 2)


def _rope(net: ViTNet, rows: int, cols: int, keep: Tensor | None) -> Tensor:
    """Sines and cosines of timm for a grid, or those of the patches kept."""
    whole: Tensor = net.rope.get_embed(shape=[rows, cols])
    if keep is None:
        return whole
    if net.rope_mixed:  # [blocks, heads, N, 2 d] -> [blocks, B, heads, K, 2 d]
        return whole[:, :, keep].transpose(1, 2)
    return whole[keep][:, None]
