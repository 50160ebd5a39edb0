"""DINO and iBOT heads: a normalized bottleneck and weight-normalized prototypes. D width, K prototypes."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.functional.precision import at_least_float32
from sslkit.nn.batch_norm import BatchNorm

STD = 0.02  # DINO `vision_transformer.py`, `DINOHead._init_weights`


@final
class Prototypes(nn.Module):
    """A linear layer without bias whose weights are g v / ||v||, row by row; g starts at 1.

    Its state has the names of `torch.nn.utils.weight_norm`, so that the references' heads load.

    Args:
        width: Width of the input.
        count: Prototypes.
        fixed: Whether g stays 1, so that every output for an input of length 1 is a cosine (`norm_last_layer`).
    """

    def __init__(self, width: int, count: int, fixed: bool) -> None:
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(count, 1), requires_grad=not fixed)
        self.weight_v = nn.Parameter(torch.empty(count, width))
        nn.init.kaiming_uniform_(self.weight_v, a=math.sqrt(5))  # as torch's linear layers start

    def forward(self, x: Tensor) -> Tensor:
        """`[..., D]` -> `[..., K]`."""
        # torch's own weight norm calls this one too: written out, it reads the weights several times more
        return F.linear(x, torch._weight_norm(self.weight_v, self.weight_g, 0))


@final
class PrototypeHead(nn.Module):
    """DINO's head, or iBOT's with `patch_prototypes`: perceptron, length 1, prototypes.

    Defaults: DINO (`DINOHead`). Names of parameters are the references'.

    Args:
        width_in: Width of the features.
        prototypes: Outputs K.
        layers: Linear layers before the prototypes.
        hidden: Width between them.
        bottleneck: Width after them.
        norm_last_layer: Keep the prototypes at length 1.
        batch_norm: Batch norm over the rows of all ranks after every layer but the last (`use_bn_in_head`).
        patch_prototypes: Outputs of a last layer of its own for patches. Default: they share the other one.
    """

    def __init__(
        self,
        width_in: int,
        prototypes: int,
        *,
        layers: int = 3,
        hidden: int = 2048,
        bottleneck: int = 256,
        norm_last_layer: bool = True,
        batch_norm: bool = False,
        patch_prototypes: int | None = None,
    ) -> None:
        super().__init__()
        widths = [width_in, *[hidden] * (layers - 1), bottleneck]
        self.mlp = perceptron(widths, batch_norm)
        self.last_layer = Prototypes(bottleneck, prototypes, norm_last_layer)
        self.last_layer2: Prototypes | None = None
        if patch_prototypes is not None:
            self.last_layer2 = Prototypes(bottleneck, patch_prototypes, norm_last_layer)

    @property
    def patch_layer(self) -> Prototypes:
        """The last layer for patches."""
        return self.last_layer if self.last_layer2 is None else self.last_layer2

    @property
    def last_layers(self) -> list[Prototypes]:
        """Each last layer once."""
        return [self.last_layer] if self.last_layer2 is None else [self.last_layer, self.last_layer2]

    def forward(self, features: Tensor) -> Tensor:
        """Logits of class tokens, `[..., D]` -> `[..., K]`. All rows share the statistics of batch norm."""
        out: Tensor = self.last_layer(self.embed(features))
        return out

    def embed(self, features: Tensor) -> Tensor:
        """`[..., D]` -> `[..., bottleneck]` of length 1, in at least float32; the last layers read this."""
        rows = F.normalize(at_least_float32(self.mlp(features.flatten(0, -2))), dim=-1)
        return rows.reshape(*features.shape[:-1], -1)


def perceptron(widths: list[int], batch_norm: bool) -> nn.Module:
    """Linear layers from N(0, 0.02) with biases of 0, and GELU between them; one alone is no sequence (DINO)."""
    linears = [nn.Linear(a, b) for a, b in pairwise(widths)]
    for linear in linears:
        nn.init.trunc_normal_(linear.weight, std=STD)
        nn.init.zeros_(linear.bias)
    if len(linears) == 1:
        return linears[0]
    parts: list[nn.Module] = []
    for linear in linears[:-1]:
        norm: list[nn.Module] = [BatchNorm(linear.out_features)] if batch_norm else []
        parts += [linear, *norm, nn.GELU()]
    return nn.Sequential(*parts, linears[-1])
