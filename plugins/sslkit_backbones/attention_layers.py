"""Attention weights of timm's transformer blocks, recomputed from a block's input."""

from __future__ import annotations

from typing import TypeAlias

import torch
import torch.nn.functional as F
from timm.layers import Attention, AttentionRope
from timm.layers.pos_embed_sincos import apply_rot_embed_cat
from timm.models.beit import Attention as BeitAttention
from timm.models.eva import EvaAttention, EvaBlockPostNorm
from timm.models.vision_transformer import ResPostBlock
from timm.models.vision_transformer_relpos import RelPosAttention, ResPostRelPosBlock
from torch import Tensor

from sslkit.functional.precision import at_least_float32
from sslkit.plugin import SpecError
from sslkit_backbones.timm_types import TimmModule

AnyAttention: TypeAlias = Attention | AttentionRope | BeitAttention | EvaAttention | RelPosAttention
_KNOWN = (Attention, AttentionRope, BeitAttention, EvaAttention, RelPosAttention)
_POST_NORM = (ResPostBlock, EvaBlockPostNorm, ResPostRelPosBlock)


def class_attention(
    block: TimmModule,
    x: Tensor,
    prefix: int,
    class_token: bool,
    bias: Tensor | None = None,
    rope: Tensor | None = None,
) -> Tensor:
    """`[B, heads, N]` float32: the softmax weights of the class token, or their mean over patches as queries.

    Args:
        block: a block of timm.
        x: its input, `[B, prefix + N, D]`.
        prefix: class and register tokens in front of the patches.
        class_token: whether the first token is a class token.
        bias: what the block adds to the scores, broadcast to `[B, heads, prefix + N, prefix + N]`.
        rope: sines and cosines that rotate the patches' queries and keys, as timm's blocks take them.

    Raises:
        SpecError: the block is of a kind whose attention cannot be computed.
    """
    queries = slice(0, 1) if class_token else slice(prefix, None)
    return attention_weights(block, x, prefix, bias, rope, queries)[..., prefix:].mean(2)


def attention_weights(
    block: TimmModule,
    x: Tensor,
    prefix: int,
    bias: Tensor | None = None,
    rope: Tensor | None = None,
    queries: slice = slice(None),
) -> Tensor:
    """`[B, heads, queries, prefix + N]` in at least float32: the softmax weights of a block on its input `x`.

    Arguments and errors are those of `class_attention`; `queries` are the tokens in the rows.
    """
    attn = getattr(block, "attn", None)
    if not isinstance(attn, _KNOWN):
        raise SpecError(
            f"backbone: blocks of type {type(block).__name__} do not tell their attention; "
            "use a plain vision transformer, such as 'vit_base_patch16_224'"
        )
    q, k = _queries_and_keys(attn, x if isinstance(block, _POST_NORM) else block.norm1(x), rope, prefix)
    q, k = at_least_float32(q[:, :, queries]), at_least_float32(k)
    with torch.autocast(x.device.type, enabled=False):
        scores = (q * attn.scale) @ k.transpose(-2, -1)
        if bias is not None:
            scores = scores + bias[..., queries, :].to(scores.dtype)
        weights: Tensor = scores.softmax(-1)
    return weights


def _queries_and_keys(
    attn: AnyAttention, x: Tensor, rope: Tensor | None, prefix: int
) -> tuple[Tensor, Tensor]:
    """`[B, heads, prefix + N, head]` each, with the biases, norms and rotation of the module."""
    projected = _fused(attn, x) if attn.qkv is not None else (attn.q_proj(x), attn.k_proj(x))
    q, k = (p.unflatten(-1, (-1, x.shape[-1] // attn.num_heads)).transpose(1, 2) for p in projected)
    if not isinstance(attn, BeitAttention):
        q, k = attn.q_norm(q), attn.k_norm(k)
    if rope is not None:
        q, k = (_rotated(p, rope, prefix, attn.rotate_half) for p in (q, k))
    return q, k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)


def _fused(attn: AnyAttention, x: Tensor) -> tuple[Tensor, Tensor]:
    """Query and key rows of a joint projection; BEiT keeps its biases beside it, without one for keys."""
    bias = attn.qkv.bias
    if getattr(attn, "q_bias", None) is not None:
        bias = torch.cat([attn.q_bias, attn.k_bias, attn.v_bias])
    q, k, _ = F.linear(x, attn.qkv.weight, bias).chunk(3, dim=-1)
    return q, k


def _rotated(x: Tensor, rope: Tensor, prefix: int, half: bool) -> Tensor:
    return torch.cat([x[:, :, :prefix], apply_rot_embed_cat(x[:, :, prefix:], rope, half=half)], dim=2)
