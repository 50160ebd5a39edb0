"""LoRA: low-rank adaptation of frozen weights (Hu et al., 2021)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from sslkit.functional.submodules import named_submodules, submodules
from sslkit.plugin import SpecError

ATTENTION = {"qkv": ("qkv", "q_proj", "k_proj", "v_proj"), "proj": ("proj",)}
"""Target -> the names that timm's attentions have for it."""


@final
class LowRank(nn.Module):
    """A weight plus `alpha` / `rank` times the product of two narrow matrices. The second one starts at 0."""

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.down = nn.Parameter(weight.new_empty(rank, columns))
        self.up = nn.Parameter(weight.new_zeros(rows, rank))
        self.scale = alpha / rank
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))  # `loralib/layers.py`

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
    layers = [layer for block in blocks(net) for layer in _layers(block, targets)]
    if not layers:
        raise SpecError(f"{type(net).__name__} has no linear layers for `targets` {list(targets)}")
    return layers


@torch.no_grad()
def merge(net: nn.Module) -> None:
    """Add the changes to the weights, in place: the same function, without further parameters."""
    for module in list(net.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


def _layers(block: nn.Module, targets: Sequence[str]) -> Iterator[nn.Linear]:
    for target in targets:
        if target == "mlp":
            yield from submodules(block.get_submodule("mlp"), nn.Linear)
        else:
            layers = named_submodules(block.get_submodule("attn"), nn.Linear)
            yield from (layer for name, layer in layers if name in ATTENTION[target])
