"""GradNorm: loss weights trained to balance gradient norms."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from sslkit.functional import gradient_weights
from sslkit.interfaces import Balancer, Draw, Space

BETAS, EPS = (0.9, 0.999), 1e-8


@final
class GradNormBalancer(Balancer):
    """Weights w that an Adam of their own moves towards |w_i g_i| = mean |w g| * r_i^alpha, renormalized to sum K.

    r_i is the loss over its first value that is not 0, over the mean of these ratios. All of it is held in buffers.
    """

    weighs_gradients = True
    weights: Tensor
    first: Tensor
    moments: Tensor
    steps: Tensor

    def __init__(self, count: int, alpha: float, lr: float, space: Space) -> None:
        super().__init__()
        self.alpha, self.lr, self.space = alpha, lr, space
        self.register_buffer("weights", torch.ones(count, dtype=torch.float64))
        self.register_buffer("first", torch.zeros(count, dtype=torch.float64))
        self.register_buffer("moments", torch.zeros(2, count, dtype=torch.float64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.float64))

    def forward(self, losses: Tensor) -> Tensor:
        """The sum that the weights stand for; reported."""
        return (self.weights.to(losses.dtype) * losses).sum()

    def weigh(self, gram: Tensor, draw: Draw) -> Tensor:
        """The weights as the last step left them."""
        return self.weights.clone()

    def commit(self, losses: Tensor, gram: Tensor | None) -> None:
        """Move the weights by the gradient of the L1 distance of lengths from their goals, which count as constant."""
        assert gram is not None, "it weighs gradients"
        losses, lengths = losses.to(self.first.dtype), gradient_weights.norms(gram)
        self.first.copy_(torch.where(self.first == 0, losses, self.first))
        self.steps.add_(1)
        ratio = losses / torch.where(self.first != 0, self.first, 1.0)
        rate = (ratio / ratio.mean().clamp(min=1e-12)).clamp(min=0)
        weighed = self.weights * lengths
        slope = (weighed - weighed.mean() * rate**self.alpha).sign() * lengths
        self._step(slope / lengths.mean().clamp(min=1e-30))  # Adam asks for no scale, but its epsilon does

    def _step(self, slope: Tensor) -> None:
        for moment, beta, value in zip(self.moments, BETAS, (slope, slope.square()), strict=True):
            moment.lerp_(value.to(moment.dtype), 1 - beta)
        mean, square = (m / (1 - b**self.steps) for m, b in zip(self.moments, BETAS, strict=True))
        moved = (self.weights - self.lr * mean / (square.sqrt() + EPS)).clamp(min=0)
        total = moved.sum()  # a large `lr` may take all of them to 0 at once
        self.weights.copy_(torch.where(total > 0, moved * len(moved) / total, self.weights))
