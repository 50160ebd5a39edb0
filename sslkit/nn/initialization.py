"""Weight initializations of the reference implementations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sslkit.functional.submodules import submodules

if TYPE_CHECKING:
    from timm.models.vision_transformer import Block


def xavier(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases for every Linear, ones and zeros for LayerNorm (MAE `models_mae.py:85`).

    A fused qkv counts as one matrix, as in MAE.
    """
    _initialize(module, (nn.Linear,), nn.init.xavier_uniform_)


def truncated_normal(module: nn.Module, std: float = 0.02) -> None:
    """Weights of every Linear and Conv2d from N(0, std) cut off at one deviation, biases 0, LayerNorm ones and zeros.

    BEiT's (`modeling_pretrain.py:19,85`) and, for its vision transformer, SimMIM's (`simmim.py:69`). Cut off so near,
    the weights deviate by 0.54 `std`.
    """
    _initialize(module, (nn.Linear, nn.Conv2d), partial(truncated_normal_, std=std))


def truncated_normal_(tensor: Tensor, std: float = 0.02) -> Tensor:
    """Fill `tensor` from N(0, std) cut off at one deviation."""
    return nn.init.trunc_normal_(tensor, std=std, a=-std, b=std)


def _initialize(
    module: nn.Module,
    layers: tuple[type[nn.Linear] | type[nn.Conv2d], ...],
    fill: Callable[[Tensor], Tensor],
) -> None:
    """`fill` the weights of all `layers`, biases 0, LayerNorm ones and zeros."""
    for part in module.modules():
        if isinstance(part, layers):
            fill(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    for norm in submodules(module, nn.LayerNorm):
        nn.init.ones_(norm.weight)
        nn.init.zeros_(norm.bias)


@torch.no_grad()
def rescale_residuals(blocks: Iterable[Block]) -> None:
    """Divide the last weights of both branches of block l = 1, 2, ... by sqrt(2 l) (BEiT, SimMIM `fix_init_weight`)."""
    for depth, block in enumerate(blocks, start=1):
        block.attn.proj.weight.div_(math.sqrt(2.0 * depth))
        block.mlp.fc2.weight.div_(math.sqrt(2.0 * depth))
