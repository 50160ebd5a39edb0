"""A name of timm, with fields, that fits the shapes of a file."""

from __future__ import annotations

import re
from collections.abc import Mapping

import timm
from torch import Tensor

from sslkit_backbones.vit_initialization import is_sincos

_SIZES = {192: "tiny", 384: "small", 768: "base", 1024: "large", 1280: "huge", 1536: "giant", 4096: "7b"}
"""Width -> size, as timm's names have it."""
_FORMS = {
    "DINOv2's": ("vit_{size}_patch{patch}_dinov2", "learned"),
    "DINOv2's with registers": ("vit_{size}_patch{patch}_reg4_dinov2", "learned"),
    "DINOv3's": ("vit_{size}_patch{patch}_dinov3", "rotary"),
    "CLIP's": ("vit_{size}_patch{patch}_clip_224", "learned"),
    "SigLIP's": ("vit_{size}_patch{patch}_siglip_224", "learned"),
    "BEiT's": ("beit_{size}_patch{patch}_224", "relative"),
    "ViT": ("vit_{size}_patch{patch}_224", "learned"),
}
_RESNETS: Mapping[tuple[int, ...], str] = {
    (2, 2, 2, 2, False): "resnet18",
    (3, 4, 6, 3, False): "resnet34",
    (3, 4, 6, 3, True): "resnet50",
    (3, 4, 23, 3, True): "resnet101",
    (3, 8, 36, 3, True): "resnet152",
}
"""Blocks of each stage, and whether they have three convolutions."""


def fitting_name(state: Mapping[str, Tensor]) -> str | None:
    """Fields of a spec for weights under timm's names; None where their shapes do not tell."""
    if "layer1.0.conv1.weight" in state:
        counts = (_count(state, rf"layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4))
        name = _RESNETS.get((*counts, "layer1.0.conv3.weight" in state))
        return (
            None if name is None else f"name: {name}" + ", stem: cifar" * (_side(state["conv1.weight"]) == 3)
        )
    kernel = state.get("patch_embed.proj.weight")
    if kernel is None or kernel.ndim != 4 or "blocks.0.attn.proj.weight" not in state:
        return None
    return _vit(state, len(kernel), _side(kernel))


def _vit(state: Mapping[str, Tensor], width: int, patch: int) -> str:
    depth = _count(state, r"blocks\.(\d+)\.")
    family = _family(state)
    form, positions = _FORMS[family]
    if family == "ViT" and is_sincos(state["pos_embed"]):
        positions = "sincos"
    name = form.format(size=_SIZES.get(width, "base"), patch=patch)
    if timm.is_model(name) and width in _SIZES:
        return f"name: {name}, positions: {positions}"
    sizes = f"patch: {patch}, width: {width}, depth: {depth}"
    base = form.format(size="base", patch=14 if "dinov2" in form else 16)
    return f"name: {base}, {sizes}, heads: HEADS, positions: {positions}, where HEADS is what its authors say"


def _family(state: Mapping[str, Tensor]) -> str:
    if any(name.endswith("relative_position_bias_table") for name in state):
        return "BEiT's"
    if "pos_embed" not in state:
        return "DINOv3's"
    if "blocks.0.ls1.gamma" in state:
        return "DINOv2's with registers" if "reg_token" in state else "DINOv2's"
    if "norm_pre.weight" in state:
        return "CLIP's"
    return "ViT" if "cls_token" in state else "SigLIP's"


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    return len({match[1] for name in state if (match := re.match(pattern, name))})


def _side(kernel: Tensor) -> int:
    return int(kernel.shape[-1])
