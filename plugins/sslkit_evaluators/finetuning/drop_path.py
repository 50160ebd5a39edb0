"""Stochastic depth of an existing network."""

from __future__ import annotations

import re
from collections.abc import Iterator

from timm.layers import DropPath
from torch import nn

from sslkit.plugin import SpecError

_NAME = re.compile(r"drop_path\d*")


def set_drop_path(net: nn.Module, rate: float) -> None:
    """Give the blocks of a timm network stochastic depth that rises linearly from 0 to `rate`, as timm does.

    Raises:
        SpecError: `rate` is above 0 and the network has no place for it.
    """
    blocks = places(net, rate)
    for i, (module, names) in enumerate(blocks):
        block_rate = rate * i / max(1, len(blocks) - 1)
        for name in names:
            setattr(module, name, DropPath(block_rate) if block_rate else nn.Identity())


def places(net: nn.Module, rate: float) -> list[tuple[nn.Module, list[str]]]:
    """Each block with the names of its stochastic depths, in order.

    Raises:
        SpecError: `rate` is above 0 and there are none.
    """
    blocks = [(module, names) for module in net.modules() if (names := list(_places(module)))]
    if rate and not blocks:
        raise SpecError(f"{type(net).__name__} has no stochastic depth; set `drop_path: 0`")
    return blocks


def _places(module: nn.Module) -> Iterator[str]:
    """Where a block has its stochastic depth; timm's ResNets have None there if it is off."""
    names = [*module._modules, *(name for name, value in vars(module).items() if value is None)]
    yield from (name for name in names if _NAME.fullmatch(name))
