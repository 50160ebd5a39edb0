"""Bottleneck adapters behind attention and MLP (Houlsby et al., 2019)."""

from __future__ import annotations

from typing import final

import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.nn.low_rank import blocks
from sslkit.plugin import SpecError

PARTS = ("attn", "mlp")
INITIAL_STD = 1e-2  # Houlsby et al., section 3.6


@final
class Adapter(nn.Module):
    """x + up(gelu(down(x))), which is x at the start: `up` begins at 0."""

    def __init__(self, like: Tensor, bottleneck: int) -> None:
        """`like`: `[width, ...]`, a weight of the layer in front."""
        super().__init__()
        width = len(like)
        self.down = nn.Linear(width, bottleneck, device=like.device, dtype=like.dtype)
        self.up = nn.Linear(bottleneck, width, device=like.device, dtype=like.dtype)
        nn.init.trunc_normal_(self.down.weight, std=INITIAL_STD, a=-2 * INITIAL_STD, b=2 * INITIAL_STD)
        for start in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(start)

    def forward(self, x: Tensor) -> Tensor:
        """`[..., width]`."""
        out: Tensor = x + self.up(F.gelu(self.down(x)))
        return out


def add_adapters(net: nn.Module, bottleneck: int) -> None:
    """Freeze `net` and put an adapter behind the attention and the MLP of every block; torch draws the start.

    What an adapter gives is what the block adds to its residual stream.

    Raises:
        SpecError: the network has no such blocks.
    """
    places = adapted(net)
    net.requires_grad_(False)
    for block, out in places:
        for part in PARTS:
            adapter = Adapter(out.weight, bottleneck)
            block.add_module(f"{part}_adapter", adapter)
            block.get_submodule(part).register_forward_hook(_Behind(adapter))


def adapted(net: nn.Module) -> list[tuple[nn.Module, nn.Linear]]:
    """Every block, with the last layer of its attention.

    Raises:
        SpecError: the network has no such blocks.
    """
    places = []
    for block in blocks(net):
        out = getattr(block.get_submodule("attn"), "proj", None)
        if not isinstance(out, nn.Linear):
            raise SpecError(f"{type(block).__name__} has an attention without `proj`; use `method: lora`")
        places.append((block, out))
    return places


@final
class _Behind:
    """A hook that sends what a module gives through `adapter`; a copy of both has the copy's adapter."""

    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
        changed: Tensor = self.adapter(out)
        return changed
