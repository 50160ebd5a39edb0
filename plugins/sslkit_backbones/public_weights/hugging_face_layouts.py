"""Hugging Face's `ViTModel`, `ViTMAEModel`, `Dinov2Model` (with registers), `DINOv3ViTModel` and `ResNetModel`."""

from __future__ import annotations

from sslkit_backbones.public_weights.attention_names import fused
from sslkit_backbones.public_weights.weight_layout import Rules, State, Target, renamed

_EMBEDDINGS: Rules = (
    (r"^embeddings\.(cls_token|mask_token)$", r"\1"),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.(?:projection\.)?", "patch_embed.proj."),
    (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
)
_VIT: Rules = (
    *_EMBEDDINGS,
    (r"^encoder\.layer\.(\d+)\.", r"blocks.\1."),
    (r"\.attention\.attention\.(q|k|v)(?:uery|ey|alue)\.", r".attn.\1."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.mlp\.weights_in\.", ".mlp.fc1."),
    (r"\.mlp\.weights_out\.", ".mlp.fc2."),
    (r"^layernorm\.", "norm."),
)
_DINOV3: Rules = (
    *_EMBEDDINGS,
    (r"^(?:model\.)?layer\.(\d+)\.", r"blocks.\1."),
    (r"\.attention\.(q|k|v)_proj\.", r".attn.\1."),
    (r"\.attention\.o_proj\.", ".attn.proj."),
    (r"\.mlp\.down_proj\.", ".mlp.fc2."),
)
_GATED: Rules = ((r"\.mlp\.gate_proj\.", ".mlp.fc1_g."), (r"\.mlp\.up_proj\.", ".mlp.fc1_x."))
_PLAIN: Rules = ((r"\.mlp\.up_proj\.", ".mlp.fc1."),)
_RESNET: Rules = (
    (r"^embedder\.embedder\.convolution\.", "conv1."),
    (r"^embedder\.embedder\.normalization\.", "bn1."),
    *((rf"^encoder\.stages\.{stage}\.layers\.", f"layer{stage + 1}.") for stage in range(4)),
    (r"\.shortcut\.convolution\.", ".downsample.0."),
    (r"\.shortcut\.normalization\.", ".downsample.1."),
    *((rf"\.layer\.{place}\.convolution\.", f".conv{place + 1}.") for place in range(3)),
    *((rf"\.layer\.{place}\.normalization\.", f".bn{place + 1}.") for place in range(3)),
)


def resnet(state: State, target: Target) -> State:
    """Stages, blocks and layers count from 0, and each convolution stands beside its norm."""
    return renamed(state, _RESNET)


def vit(state: State, target: Target) -> State:
    """Separate queries, keys and values; layer scale, registers and packed SwiGLU where the model has them."""
    return fused(renamed(state, _VIT))


def dinov3(state: State, target: Target) -> State:
    """Keys without a bias; a gated MLP in the largest."""
    gated = any(".mlp.gate_proj." in name for name in state)
    return fused(renamed(state, (*_DINOV3, *(_GATED if gated else _PLAIN))))
