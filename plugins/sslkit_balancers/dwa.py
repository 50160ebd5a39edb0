"""Dynamic weight average: loss weights from rates of descent."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from sslkit.interfaces import Balancer
from sslkit.plugin import Length


@final
class DWABalancer(Balancer):
    """K softmax(r / T), where r is each loss's mean of the last period over that of the one before.

    Buffers hold the sums of the running period and the means of the last two, so a resumed run goes on exactly.
    """

    total: Tensor
    done: Tensor
    means: Tensor
    length: Tensor

    def __init__(self, count: int, temperature: float, steps: int | None) -> None:
        super().__init__()
        self.temperature, self._steps = temperature, steps
        self.register_buffer("total", torch.zeros(count, dtype=torch.float64))
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))
        self.register_buffer("means", torch.zeros(2, count, dtype=torch.float64))
        self.register_buffer("length", torch.tensor(steps or 1), persistent=False)

    def prepare(self, length: Length) -> None:
        """A period is an epoch unless it was given in steps."""
        self.length.fill_(self._steps or length.steps_per_epoch)

    def forward(self, losses: Tensor) -> Tensor:
        """The weighted sum of `losses` `[K]`."""
        return (self.factors().to(losses.dtype) * losses).sum()

    def factors(self) -> Tensor:
        """The weights, of sum K; all 1 in the first two periods."""
        ready = self.done >= 2 * self.length
        before, last = self.means.unbind()
        ratio = torch.where(ready & (before != 0), last / torch.where(before != 0, before, 1.0), 1.0)
        return len(ratio) * (ratio / self.temperature).softmax(0)

    def commit(self, losses: Tensor, gram: Tensor | None) -> None:
        """Add the step to its period; at the end of one, its means take the place of the older ones."""
        self.total.add_(losses)
        self.done.add_(1)
        ended = self.done % self.length == 0
        moved = torch.stack([self.means[1], self.total / self.length])
        self.means.copy_(torch.where(ended, moved, self.means))
        self.total.mul_(~ended)
