"""LoRA: low-rank adaptation of frozen weights (Hu et al., 2021)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import cast, final

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from sslkit.errors import SpecError
from sslkit.functional.submodules import named_submodules, submodules

ATTENTION = {"qkv": ("qkv", "q_proj", "k_proj", "v_proj"), "proj": ("proj",)}
"""Target -> the names that timm's attentions have for it."""
CHANGED = ".parametrizations.weight."
"""In the names of a weight that changes, and of what changes it, behind the name of its layer."""


@final
class LowRank(nn.Module):
    """A weight plus `alpha` / `rank` times the product of two narrow matrices. The second one starts at 0."""

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.down = nn.Parameter(weight.new_empty(rank, columns))
        self.up = nn.Parameter(weight.new_zeros(rows, rank))
        self.register_buffer("scale", torch.tensor(alpha / rank, dtype=weight.dtype))  # kept with the weights
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))  # `loralib/layers.py`

    scale: Tensor

    def forward(self, weight: Tensor) -> Tensor:
        """`[rows, columns]`."""
        return weight + self.scale * (self.up @ self.down)


def blocks(net: nn.Module) -> list[nn.Module]:
    """Modules with an attention and an MLP, in order.

    Raises:
        SpecError: there are none.
    """
    modules = [m for m in net.modules() if {"attn", "mlp"} <= dict(m.named_children()).keys()]
    if not modules:
        raise SpecError(
            f"{type(net).__name__} has no blocks of attention and MLP to adapt; use a transformer, or `finetune`"
        )
    return modules


def add_low_rank(net: nn.Module, targets: Sequence[str], rank: int, alpha: float) -> None:
    """Freeze `net` and let the weights of the `targets` of every block change by low rank; torch draws the start.

    Raises:
        SpecError: the network has no such layers.
    """
    layers = target_layers(net, targets)
    net.requires_grad_(False)
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, rank, alpha))


def target_layers(net: nn.Module, targets: Sequence[str]) -> list[nn.Linear]:
    """The layers that change.

    Raises:
        SpecError: the network has no such layers.
    """
    # one that is named twice would change twice, and be merged once
    layers = list(dict.fromkeys(layer for block in blocks(net) for layer in _layers(block, targets)))
    if not layers:
        raise SpecError(f"{type(net).__name__} has no linear layers for `targets` {list(targets)}")
    return layers


@torch.no_grad()
def merge(net: nn.Module) -> None:
    """Add the changes to the weights, in place: the same function, without further parameters.

    Not by torch's `remove_parametrizations`, which takes the weight from the class that a copy of the module shares.
    """
    for module in list(net.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parts = cast("nn.ModuleDict", module.parametrizations)
            if set(parts) != {"weight"}:
                raise SpecError(
                    f"{type(module).__name__}: {', '.join(parts)} are parametrized; only weights can be merged"
                )
            original = cast("nn.Parameter", parts["weight"].original)
            weight = nn.Parameter(cast("Tensor", module.weight).detach(), original.requires_grad)
            del module.parametrizations
            module.__class__ = type(module).__bases__[0]
            module.weight = weight


def plain_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of a network whose changes are merged, from that of one that may have some."""
    merged = {name: value for name, value in state.items() if CHANGED not in name}
    for name, weight in state.items():
        layer, _, part = name.partition(CHANGED)
        if part == "original":
            up, down, scale = (state[f"{layer}{CHANGED}0.{key}"] for key in ("up", "down", "scale"))
            merged[f"{layer}.weight"] = weight + scale * (up @ down)
    return merged


def plain_names(net: nn.Module) -> dict[str, str]:
    """Names of the state of `net`, without what changes weights -> the names that they have in it."""
    parts = ((name, *name.partition(CHANGED)) for name in net.state_dict())
    return {
        name if not part else f"{layer}.weight": name
        for name, layer, _, part in parts
        if part in {"", "original"}
    }


def _layers(block: nn.Module, targets: Sequence[str]) -> Iterator[nn.Linear]:
    for target in targets:
        if target == "mlp":
            yield from submodules(block.get_submodule("mlp"), nn.Linear)
        else:
            layers = named_submodules(block.get_submodule("attn"), nn.Linear)
            yield from (layer for name, layer in layers if name in ATTENTION[target])
