"""Image towers of CLIP and SigLIP: OpenAI's and open_clip's names, and Hugging Face's."""

from __future__ import annotations

import torch

from sslkit_backbones.public_weights.attention_names import fused
from sslkit_backbones.public_weights.weight_layout import Rules, State, Target, renamed

_OPEN_CLIP: Rules = (
    (r"^conv1\.", "patch_embed.proj."),
    (r"^class_embedding$", "cls_token"),
    (r"^positional_embedding$", "pos_embed"),
    (r"^transformer\.resblocks\.(\d+)\.", r"blocks.\1."),
    (r"^ln_pre\.", "norm_pre."),
    (r"^ln_post\.", "norm."),
    (r"\.ln_(\d)\.", r".norm\1."),
    (r"\.ls_(\d)\.gamma$", r".ls\1.gamma"),
    (r"\.attn\.in_proj_", ".attn.qkv."),
    (r"\.attn\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    (r"^proj$", "projection.weight"),
)
_HUGGING_FACE: Rules = (
    (r"^embeddings\.patch_embedding\.", "patch_embed.proj."),
    (r"^embeddings\.class_embedding$", "cls_token"),
    (r"^embeddings\.position_embedding\.weight$", "pos_embed"),
    (r"^encoder\.layers\.(\d+)\.", r"blocks.\1."),
    (r"^pre_layrnorm\.", "norm_pre."),  # sic
    (r"^post_layernorm\.", "norm."),
    (r"\.layer_norm(\d)\.", r".norm\1."),
    (r"\.self_attn\.(q|k|v)_proj\.", r".attn.\1."),
    (r"\.self_attn\.out_proj\.", ".attn.proj."),
)
_POOLING: Rules = (
    (r"^head\.probe$", "attn_pool.latent"),
    (r"^head\.attention\.out_proj\.", "attn_pool.proj."),
    (r"^head\.layernorm\.", "attn_pool.norm."),
    (r"^head\.mlp\.", "attn_pool.mlp."),
)
_QUICK = "files of CLIP do not say which GELU they were trained with: OpenAI's need `quick_gelu`, most others `gelu`"


def open_clip(state: State, target: Target) -> State:
    """`open_clip/transformer.py`: a class token and positions without a dimension for the batch."""
    target.remarks.append(_QUICK)
    return _batched(renamed(state, _OPEN_CLIP))


def hugging_face(state: State, target: Target) -> State:
    """`CLIPVisionModel` and `SiglipVisionModel`, the latter with attention pooling where the network has it."""
    if "attn_pool.latent" in target.names:
        state = renamed(_split(state), _POOLING)
    return _batched(fused(renamed(state, _HUGGING_FACE)))


def _batched(state: State) -> State:
    one = {name: state[name] for name in ("cls_token", "pos_embed") if name in state}
    return {**state, **{name: value.reshape(1, -1, value.shape[-1]) for name, value in one.items()}}


def _split(state: State) -> State:
    """The joint projection of the pooling as one of queries and one of keys and values."""
    split = dict(state)
    for kind in ("weight", "bias"):
        q, k, v = split.pop(f"head.attention.in_proj_{kind}").chunk(3)
        split |= {f"attn_pool.q.{kind}": q, f"attn_pool.kv.{kind}": torch.cat([k, v])}
    return split
