"""Official files of DINOv2 and DINOv3, and of iBOT."""

from __future__ import annotations

from sslkit_backbones.public_weights.attention_names import without_masked
from sslkit_backbones.public_weights.weight_layout import Rules, State, Target, renamed

_DINOV2: Rules = (
    (r"^blocks\.\d+\.(\d+)\.", r"blocks.\1."),  # training keeps blocks in chunks, numbered through
    (r"^register_tokens$", "reg_token"),
    (r"\.mlp\.w12\.", ".mlp.fc1."),
    (r"(blocks\.\d+\.mlp)\.w3\.", r"\1.fc2."),
)
_DINOV3: Rules = ((r"^storage_tokens$", "reg_token"),)  # timm renames `w1`, `w2` and `w3`


def dinov2(state: State, target: Target) -> State:
    """`dinov2/models/vision_transformer.py`: blocks in chunks, registers without positions, packed SwiGLU."""
    return renamed(state, _DINOV2)


def dinov3(state: State, target: Target) -> State:
    """`dinov3/models/vision_transformer.py`: storage tokens; biases count where their mask says so, not for keys."""
    masks = {name: value for name, value in state.items() if name.endswith(".bias_mask")}
    rest = {name: value for name, value in state.items() if name not in masks}
    for name, mask in masks.items():
        bias = name.removesuffix("_mask")
        rest[bias] = without_masked(rest[bias], mask)
    return renamed(rest, _DINOV3)


def ibot(state: State, target: Target) -> State:
    """`ibot/models/vision_transformer.py`: `masked_embed` is the mask token."""
    return renamed(state, ((r"^masked_embed$", "mask_token"),))
