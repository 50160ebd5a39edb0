"""The layouts of public files, those that tell more by their names first."""

from __future__ import annotations

from collections.abc import Collection

from sslkit_backbones.public_weights import (
    clip_layouts,
    dino_layouts,
    hugging_face_layouts,
    other_layouts,
)
from sslkit_backbones.public_weights.weight_layout import Layout, has, unchanged

_DECODER, _TABLE = "decoder_embed.weight", "relative_position_bias_table"


def _is_dinov2(keys: Collection[str]) -> bool:
    scaled = "blocks.0.ls1.gamma" in keys or "blocks.0.0.ls1.gamma" in keys
    return scaled and ("mask_token" in keys or "register_tokens" in keys)


def _is_beit(keys: Collection[str]) -> bool:
    return f"rel_pos_bias.{_TABLE}" in keys or f"blocks.0.attn.{_TABLE}" in keys


LAYOUTS = (
    Layout("DINOv3's", has("storage_tokens", "blocks.0.norm1.weight"), dino_layouts.dinov3),
    Layout("DINOv3's", has("rope_embed.periods"), dino_layouts.dinov3),
    Layout("DINOv2's", _is_dinov2, dino_layouts.dinov2),
    Layout("iBOT's", has("masked_embed"), dino_layouts.ibot),
    Layout("MAE's", has(_DECODER), other_layouts.mae),
    Layout("Hugging Face's (DINOv3)", has("layer.0.attention.q_proj.weight"), hugging_face_layouts.dinov3),
    Layout(
        "Hugging Face's (DINOv3)", has("model.layer.0.attention.q_proj.weight"), hugging_face_layouts.dinov3
    ),
    Layout(
        "Hugging Face's (ViT, MAE, DINOv2)",
        has("encoder.layer.0.attention.attention.query.weight"),
        hugging_face_layouts.vit,
    ),
    Layout(
        "Hugging Face's (ResNet)",
        has("embedder.embedder.convolution.weight"),
        hugging_face_layouts.resnet,
    ),
    Layout(
        "Hugging Face's (CLIP, SigLIP)",
        has("encoder.layers.0.self_attn.q_proj.weight", "embeddings.patch_embedding.weight"),
        clip_layouts.hugging_face,
    ),
    Layout("CLIP's", has("class_embedding", "transformer.resblocks.0.ln_1.weight"), clip_layouts.open_clip),
    Layout(
        "MoCo v3's", has("blocks.0.attn.qkv.weight"), unchanged, component="base_encoder", heads=12
    ),  # `vits.py`
    Layout("MoCo v3's", has("layer1.0.conv1.weight"), unchanged, component="base_encoder"),
    Layout("MoCo's", has("layer1.0.conv1.weight"), unchanged, component="encoder_q"),
    Layout("BEiT's or SimMIM's", _is_beit, other_layouts.beit),
    Layout("lightly's", other_layouts.is_sequence, other_layouts.sequence),
    Layout("timm's", lambda keys: True, unchanged),
)
"""The first one that fits is taken; the last one always does."""

ROOTS = (
    "patch_embed.proj.weight",
    "layer1.0.conv1.weight",
    "ln_pre.weight",
    "embeddings.cls_token",
    "embeddings.patch_embedding.weight",
    "embedder.embedder.convolution.weight",
    "4.0.conv1.weight",
    "2.0.conv1.weight",
)
"""Names that each stand once in a network of some layout, so that what precedes them precedes all of its names."""


def layout_of(keys: Collection[str], prefix: str) -> Layout:
    """The layout of `keys`, which stood behind `prefix`."""
    components = prefix.split(".")
    return next(
        one for one in LAYOUTS if (not one.component or one.component in components) and one.fits(keys)
    )
