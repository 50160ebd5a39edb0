"""Uncertainty weighting: loss weights from learned variances."""

from __future__ import annotations

from typing import Literal, final

import torch
from torch import Tensor, nn

from sslkit.interfaces import Balancer

Form = Literal["regression", "positive", "doubled"]


@final
class UncertaintyBalancer(Balancer):
    """Divides each loss by a learned variance sigma^2 = exp(s), and adds what keeps the variance from growing."""

    def __init__(self, count: int, form: Form, initial: float, bound: float | None) -> None:
        super().__init__()
        self.form, self.bound = form, bound
        self.log_variance = nn.Parameter(torch.full((count,), initial))

    def forward(self, losses: Tensor) -> Tensor:
        """The sum over `losses` `[K]` of weight times loss, plus the penalty."""
        s = self.log_variance.to(losses.dtype)
        penalty = {"regression": s / 2, "positive": s.exp().log1p(), "doubled": s}[self.form]
        return (self._weights(s) * losses + penalty).sum()

    def factors(self) -> Tensor:
        """1 / (2 sigma^2), or 1 / sigma^2 in the doubled form."""
        return self._weights(self.log_variance)

    def commit(self, losses: Tensor, gram: Tensor | None) -> None:
        """Bring log-variances that left their bounds back: a clamp in the forward would hold them there for good."""
        if self.bound is not None:
            self.log_variance.clamp_(-self.bound, self.bound)

    def _weights(self, s: Tensor) -> Tensor:
        return (-s).exp() if self.form == "doubled" else (-s).exp() / 2
