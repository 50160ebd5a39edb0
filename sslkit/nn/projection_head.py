"""Projection heads of joint-embedding methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import torch
from torch import Tensor, nn

from sslkit.functional.submodules import submodules
from sslkit.nn.batch_norm import batch_norm

if TYPE_CHECKING:
    from sslkit.specs.projection_head import Projection

NORMAL_STD = 0.01  # SimCLR `tf2/model.py`, `LinearLayer`


@final
class ProjectionHead(nn.Module):
    """A multilayer perceptron as its spec says: linear layers, batch norm and ReLU between them."""

    def __init__(self, spec: Projection, width_in: int) -> None:
        super().__init__()
        hidden = spec.hidden or width_in
        layers: list[nn.Module] = []
        for i in range(spec.layers):
            last = i == spec.layers - 1
            inputs, outputs = (hidden if i else width_in), (spec.out if last else hidden)
            linear = nn.Linear(inputs, outputs, bias=spec.out_bias if last else spec.bias)
            layers += [linear, _norm(spec, outputs, last)] + ([] if last else [nn.ReLU()])
        self.layers = nn.Sequential(*(layer for layer in layers if not isinstance(layer, nn.Identity)))
        if spec.init == "normal":
            self._start_small()

    def forward(self, features: Tensor) -> Tensor:
        """`[..., D]` -> `[..., out]`. All rows share the statistics of batch norm."""
        out: Tensor = self.layers(features.flatten(0, -2))
        return out.reshape(*features.shape[:-1], -1)

    def per_crop(self, features: Tensor) -> Tensor:
        """`[V, B, D]` -> `[V, B, out]`; each crop has statistics of its own, as where crops are passed in turn."""
        return torch.stack([self(crop) for crop in features.unbind()])

    def _start_small(self) -> None:
        for layer in submodules(self.layers, nn.Linear):
            nn.init.normal_(layer.weight, std=NORMAL_STD)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _norm(spec: Projection, width: int, last: bool) -> nn.Module:
    inner = "affine" if spec.norm else "none"
    return batch_norm(width, spec.out_norm if last else inner, spec.batch_norm, spec.splits)
