"""Weights in the sizes of a network: positions, patch kernels, bias tables and channels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

import torch
from timm.layers import resample_abs_pos_embed, resample_patch_embed
from timm.models import adapt_input_conv
from torch import Tensor

from sslkit_backbones.public_weights.weight_layout import State
from sslkit_backbones.resample_bias import with_fitting_tables
from sslkit_backbones.timm_types import TimmModule

_KERNEL = "patch_embed.proj.weight"
_POSITIONS = "pos_embed"
_NET = "net."
"""What precedes timm's names in a backbone."""


def fitting(state: State, net: TimmModule, changes: list[str]) -> State:
    """`state` in the sizes of `net`; what was resized is added to `changes`, as "what from a to b".

    Positions and patch kernels are resampled as timm does (bicubic, antialiased), bias tables as BEiT does.
    """
    state = _with_tables(state, net, changes)
    return _with_channels(_with_kernel(_with_positions(state, net, changes), net, changes), net, changes)


def fitting_backbone(
    state: Mapping[str, Tensor], net: TimmModule, fixed_positions: bool = False
) -> tuple[State, list[str]]:
    """As `fitting`, of a backbone whose `net` is `net`, with what was resized. `fixed_positions`: keep its own."""
    changes: list[str] = []
    inner = {name.removeprefix(_NET): value for name, value in state.items() if name.startswith(_NET)}
    if fixed_positions and _POSITIONS in inner:
        inner[_POSITIONS] = net.state_dict()[_POSITIONS]
    fitted = fitting(inner, net, changes)
    others = {name: value for name, value in state.items() if not name.startswith(_NET)}
    return {**others, **{f"{_NET}{name}": value for name, value in fitted.items()}}, changes


def _with_positions(state: State, net: TimmModule, changes: list[str]) -> State:
    table, grid = (
        getattr(net, _POSITIONS, None),
        getattr(getattr(net, "patch_embed", None), "grid_size", None),
    )
    if table is None or grid is None or not table.ndim == getattr(state.get(_POSITIONS), "ndim", 0) == 3:
        return state
    extra = table.shape[1] - grid[0] * grid[1]
    state, front = _with_front(state, extra)
    count = state[_POSITIONS].shape[1] - extra
    side = math.isqrt(max(count, 0))
    if front is None or (side, side) == tuple(grid):
        return state
    changes.append(f"positions from {side} x {side} to {grid[0]} x {grid[1]} patches")
    resized = resample_abs_pos_embed(
        state[_POSITIONS], new_size=list(grid), old_size=[side, side], num_prefix_tokens=extra
    )
    return {**state, _POSITIONS: resized}


def _with_front(state: State, extra: int) -> tuple[State, int | None]:
    """`state` with as many positions before those of the patches as `extra`, and how many there were.

    None where no square grid remains. Positions of the class token are added to it where the network has none for
    it; tokens without positions get 0. The tokens that enter the first block stay as they were.
    """
    table = state[_POSITIONS]
    fronts = [n for n in (extra, 1, 0) if _is_square(table.shape[1] - n)]
    if not fronts or fronts[0] == extra:
        return state, fronts[0] if fronts else None
    front, patches = table[:, : fronts[0]], table[:, fronts[0] :]
    if extra < fronts[0]:
        tokens = {"cls_token": state["cls_token"] + front} if "cls_token" in state else {}
        return {**state, **tokens, _POSITIONS: patches}, fronts[0]
    zeros = table.new_zeros(1, extra - fronts[0], table.shape[2])
    return {**state, _POSITIONS: torch.cat([front, zeros, patches], dim=1)}, fronts[0]


def _is_square(count: int) -> bool:
    return count > 0 and math.isqrt(count) ** 2 == count


def _with_kernel(state: State, net: TimmModule, changes: list[str]) -> State:
    kernel, wanted = state.get(_KERNEL), net.state_dict().get(_KERNEL)
    if kernel is None or wanted is None or kernel.ndim != 4 or kernel.shape[2:] == wanted.shape[2:]:
        return state
    changes.append(f"patch kernel from {_by(kernel)} to {_by(wanted)} pixels")
    return {**state, _KERNEL: resample_patch_embed(kernel, list(wanted.shape[2:]))}


def _by(kernel: Tensor) -> str:
    return " x ".join(map(str, kernel.shape[2:]))


def _with_tables(state: State, net: TimmModule, changes: list[str]) -> State:
    resized = with_fitting_tables(state, net)
    sizes = Counter(
        (len(state[name]), len(value)) for name, value in resized.items() if value.shape != state[name].shape
    )
    for (before, after), count in sizes.items():
        changes.append(f"{count} bias tables from {before} to {after} distances")
    return resized


def _with_channels(state: State, net: TimmModule, changes: list[str]) -> State:
    """First convolutions of three channels adapted to those of `net`, as timm does with its own weights.

    One channel gets the sum of the three; of other numbers, the three are repeated and scaled by 3 / C.
    """
    first = (getattr(net, "pretrained_cfg", None) or {}).get("first_conv") or ()
    for name in (first,) if isinstance(first, str) else first:
        weight, wanted = state.get(f"{name}.weight"), net.state_dict().get(f"{name}.weight")
        if weight is None or wanted is None or weight.ndim != 4 or weight.shape[1] != 3:
            continue
        if wanted.shape[1] != 3:
            changes.append(f"{name} from 3 to {wanted.shape[1]} channels")
        state = {**state, f"{name}.weight": adapt_input_conv(wanted.shape[1], weight)}
    return state
