"""Names of attention's projections and of layer scale, which differ between timm's own classes."""

from __future__ import annotations

import torch
from torch import Tensor

from sslkit_backbones.public_weights.weight_layout import State, Target

_PARTS = ("q", "k", "v")


def fused(state: State) -> State:
    """`attn.q`, `attn.k` and `attn.v` as one `attn.qkv`; a bias that one of them lacks is 0."""
    owners = dict.fromkeys(
        name.removesuffix(".q.weight") for name in state if name.endswith(".attn.q.weight")
    )
    parts = {f"{owner}.{part}.{kind}" for owner in owners for part in _PARTS for kind in ("weight", "bias")}
    rest = {name: value for name, value in state.items() if name not in parts}
    for owner in owners:
        weights = [state[f"{owner}.{part}.weight"] for part in _PARTS]
        biases = [state.get(f"{owner}.{part}.bias") for part in _PARTS]
        rest[f"{owner}.qkv.weight"] = torch.cat(weights)
        if any(bias is not None for bias in biases):
            filled = [w.new_zeros(len(w)) if b is None else b for w, b in zip(weights, biases, strict=True)]
            rest[f"{owner}.qkv.bias"] = torch.cat(filled)
    return rest


def with_biases_of(state: State, target: Target) -> State:
    """`attn.qkv.bias` in the parts that the network has: all, those of queries and values, or none where all are 0.

    A part that is not 0 and that the network lacks keeps its name, so that it is named as a mismatch.
    """
    converted, zero = dict(state), 0
    for name in state:
        if not name.endswith(".attn.qkv.bias") or name in target.names:
            continue
        owner, (q, k, v) = name.removesuffix("qkv.bias"), state[name].chunk(3)
        if f"{owner}q_bias" in target.names and not k.any():
            converted |= {f"{owner}q_bias": q, f"{owner}v_bias": v}
            del converted[name]
        elif not state[name].any():
            zero += 1
            del converted[name]
    if zero:
        target.remarks.append(
            f"{zero} biases of queries, keys and values left out: they are 0, and it has none"
        )
    return converted


def with_layer_scale_of(state: State, target: Target) -> State:
    """Layer scale as `ls1.gamma` or as `gamma_1`, whichever the network has."""
    pairs = {f".ls{n}.gamma": f".gamma_{n}" for n in (1, 2)}
    return {_scale(name, pairs, target): value for name, value in state.items()}


def _scale(name: str, pairs: dict[str, str], target: Target) -> str:
    for one, other in pairs.items():
        for before, after in ((one, other), (other, one)):
            renamed = name.removesuffix(before) + after
            if name.endswith(before) and name not in target.names and renamed in target.names:
                return renamed
    return name


def without_masked(bias: Tensor, mask: Tensor) -> Tensor:
    """`bias` with 0 where DINOv3's mask is 0 or, as before its first use, not a number."""
    return torch.where(mask.nan_to_num(0) != 0, bias, 0.0)
