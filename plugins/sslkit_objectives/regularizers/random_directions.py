"""Random directions and orders that are new at each step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor, nn

from sslkit.interfaces import Draw

STEP = "step"
SCHEDULES = {STEP: float}
"""What an objective with such directions declares as its `schedules`."""


@final
class RandomDirections(nn.Module):
    """Gaussian directions as a function of (seed, step, direction): the same on all ranks, and after a resume."""

    origin: Tensor

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.width, self.count = width, count
        # Begins where the run's seed says: components are built with torch's generator set by it.
        self.register_buffer("origin", torch.randint(1 << 40, ()))

    def forward(self, now: Mapping[str, Tensor]) -> Tensor:
        """`[width, count]` of the step that `now` tells."""
        rows = (
            self.origin + now[STEP].long() * self.count + torch.arange(self.count, device=self.origin.device)
        )
        return Draw(0, rows).normal(self.width).mT


@final
class RandomOrder(nn.Module):
    """Orders of a batch as a function of (seed, step): the same on all ranks, and after a resume."""

    origin: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("origin", torch.randint(1 << 40, ()))

    def forward(self, now: Mapping[str, Tensor], count: int, length: int) -> Tensor:
        """`count` orders of 0 to `length` - 1, `[count, length]`."""
        rows = self.origin + now[STEP].long() * count + torch.arange(count, device=self.origin.device)
        return Draw(1, rows).permutation(length)
