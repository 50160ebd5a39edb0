"""Interpolation of relative position bias tables."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sslkit_backbones.timm_types import TimmModule

Size = tuple[int, int]
TABLE = ".relative_position_bias_table"


def with_fitting_tables(state: Mapping[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """The weights `state` with the bias tables of square grids resampled to those of `net`."""
    owners = {name: module for name, module in net.named_modules() if _has_table(module)}
    return {
        key: _fitting(value, owners[key.removesuffix(TABLE)])
        if key.endswith(TABLE) and key.removesuffix(TABLE) in owners
        else value
        for key, value in state.items()
    }


def _has_table(module: TimmModule) -> bool:
    return getattr(module, TABLE.removeprefix("."), None) is not None


def _fitting(table: Tensor, owner: TimmModule) -> Tensor:
    rows, cols = (int(side) for side in owner.window_size)
    extra = len(owner.relative_position_bias_table) - (2 * rows - 1) * (2 * cols - 1)
    side = (math.isqrt(len(table) - extra) + 1) // 2
    square = (2 * side - 1) ** 2 == len(table) - extra
    if not square or (side, side) == (rows, cols):
        return table  # loading raises where shapes differ
    return resampled_table(table, (side, side), (rows, cols), extra)


def resampled_table(table: Tensor, source: Size, target: Size, extra: int) -> Tensor:
    """`[(2 r - 1) (2 c - 1) + extra, heads]` for a grid of `target` = (r, c) patches, from one for `source`.

    timm's `resize_rel_pos_bias_table`, which follows BEiT's: distances that grow geometrically from the center, so
    that near ones keep their values, and linear interpolation in between. That one leaves the graph for the CPU, and
    indexes in a way that torch is about to change; this one is two matrix products, with gradients. The last `extra`
    rows (class token) are kept as they are.
    """
    rows, cols = (_weights(2 * s - 1, 2 * t - 1) for s, t in zip(source, target, strict=True))
    count = len(table) - extra
    plane = table[:count].unflatten(0, (2 * source[0] - 1, -1))
    resized = torch.einsum("ab,bch,dc->adh", table.new_tensor(rows), plane, table.new_tensor(cols))
    return torch.cat([resized.flatten(0, 1), table[count:]])


def _weights(source: int, target: int) -> list[list[float]]:
    """`[target][source]`: how much of each source distance every target distance takes."""
    places = _places(source, target)
    return [_between(places, float(at - target // 2)) for at in range(target)]


def _between(places: list[float], at: float) -> list[float]:
    """Linear weights of the two `places` around `at`; the last place beyond the ends."""
    right = min(sum(place < at for place in places), len(places) - 1)
    left = max(right - 1, 0)
    below, above = max(at - places[left], 0.0), max(places[right] - at, 0.0)
    share = 1.0 if below + above == 0 else below / (below + above)
    weights = [0.0] * len(places)
    weights[left] += 1 - share
    weights[right] += share
    return weights


def _places(source: int, target: int) -> list[float]:
    """Where the source distances stand among the target's: sums of powers of the factor that reaches its end."""
    low, high = 1.01, 1.5
    factor = low
    while high - low > 1e-6:
        factor = (low + high) / 2
        if (1 - factor ** (source // 2)) / (1 - factor) > target // 2:
            high = factor
        else:
            low = factor
    steps = [sum(factor**i for i in range(n)) for n in range(1, source // 2 + 1)]
    return [-step for step in reversed(steps)] + [0.0] + steps
