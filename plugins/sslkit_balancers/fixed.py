"""Constant loss weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from sslkit.interfaces import Balancer


@final
class FixedWeightsBalancer(Balancer):
    """The sum of the losses, each times its weight."""

    weights: Tensor

    def __init__(self, weights: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float64), persistent=False)

    def forward(self, losses: Tensor) -> Tensor:
        """The weighted sum of `losses` `[K]`."""
        return (self.weights.to(losses.dtype) * losses).sum()

    def factors(self) -> Tensor:
        return self.weights
