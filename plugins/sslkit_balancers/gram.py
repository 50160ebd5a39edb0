"""Gradient aggregation by the Gramian: PCGrad, MGDA, CAGrad and others."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from sslkit.functional import gradient_weights
from sslkit.interfaces import Balancer, Draw, Space

Rule = Callable[[Tensor, Draw], Tensor]
"""Products of gradients `[K, K]` and a draw -> weights `[K]`."""


@final
class GramBalancer(Balancer):
    """Weighs gradients by a rule that keeps no state."""

    weighs_gradients = True

    def __init__(self, rule: Rule, space: Space) -> None:
        super().__init__()
        self.rule, self.space = rule, space

    def forward(self, losses: Tensor) -> Tensor:
        """The sum of `losses` `[K]`; reported."""
        return losses.sum()

    def weigh(self, gram: Tensor, draw: Draw) -> Tensor:
        return self.rule(gram, draw)


def pcgrad(gram: Tensor, draw: Draw) -> Tensor:
    """PCGrad in an order of its own for each gradient."""
    count = len(gram)
    return gradient_weights.pcgrad(gram, draw.uniform(count, count)[0].argsort(dim=1))


def mgda(gram: Tensor, draw: Draw, normalize: bool) -> Tensor:
    """The shortest convex combination, of the gradients or of their unit vectors."""
    if not normalize:
        return gradient_weights.min_norm(gram)
    lengths = gradient_weights.norms(gram)
    safe = torch.where(lengths > 0, lengths, 1.0)
    return gradient_weights.min_norm(gram / (safe[:, None] * safe)) / safe


def cagrad(gram: Tensor, draw: Draw, c: float, rescale: bool) -> Tensor:
    """CAGrad's direction, as the paper has it or divided by 1 + c^2 as its code does."""
    return gradient_weights.cagrad(gram, c) / (1 + c**2 if rescale else 1)


def imtl_g(gram: Tensor, draw: Draw) -> Tensor:
    """Equal projections."""
    return gradient_weights.imtl_g(gram)


def nash(gram: Tensor, draw: Draw, max_norm: float | None) -> Tensor:
    """The bargaining solution for the Gram matrix over its norm, cut to a length of at most `max_norm`."""
    scale = gram.norm()
    weights = gradient_weights.nash(gram / torch.where(scale > 0, scale, 1.0))
    if max_norm is None:
        return weights
    length = (weights @ gram @ weights).clamp(min=0).sqrt()
    return weights * (max_norm / torch.where(length > 0, length, max_norm)).clamp(max=1)
