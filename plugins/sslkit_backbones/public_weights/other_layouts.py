"""BEiT's and SimMIM's bias tables, MAE's decoder, and ResNets kept as a sequence of layers."""

from __future__ import annotations

import re
from collections.abc import Collection

from sslkit_backbones.public_weights.weight_layout import State, Target, renamed

_TABLE = "relative_position_bias_table"
_SEQUENCE = re.compile(r"^(\d+)\.")


def beit(state: State, target: Target) -> State:
    """A table that all blocks share goes to each block where the network has one for each, as BEiT fine-tunes."""
    shared = state.get(f"rel_pos_bias.{_TABLE}")
    blocks = [name for name in target.names if name.endswith(f".attn.{_TABLE}")]
    if shared is None or not blocks or f"rel_pos_bias.{_TABLE}" in target.names:
        return state
    target.remarks.append(f"the bias table shared by all blocks copied to each of {len(blocks)}")
    rest = {name: value for name, value in state.items() if name != f"rel_pos_bias.{_TABLE}"}
    return {**rest, **{name: shared.clone() for name in blocks if name not in state}}


def mae(state: State, target: Target) -> State:
    """`models_mae.py`: the mask token is the decoder's."""
    return renamed(state, ((r"^mask_token$", "decoder_mask_token"),))


def is_sequence(keys: Collection[str]) -> bool:
    """Whether a ResNet is kept as a sequence; `keys` are its names."""
    return bool(_stages(keys))


def sequence(state: State, target: Target) -> State:
    """Lightly's `Sequential(*children)` of a ResNet: convolution, norm, (activation, pooling,) four stages."""
    stages = _stages(state)
    names = {"0": "conv1", "1": "bn1", **{stage: f"layer{n}" for n, stage in enumerate(stages, start=1)}}
    return {
        _SEQUENCE.sub(lambda match: f"{names.get(match[1], match[1])}.", name): value
        for name, value in state.items()
    }


def _stages(keys: Collection[str]) -> list[str]:
    """Numbers of the stages of residual blocks."""
    matches = (re.match(r"^(\d+)\.0\.conv1\.weight$", key) for key in keys)
    return sorted((match[1] for match in matches if match), key=int)
