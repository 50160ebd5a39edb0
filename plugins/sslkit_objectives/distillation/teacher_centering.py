"""Centering of teacher outputs: a moving mean or Sinkhorn-Knopp. K prototypes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, final

import torch
from torch import Tensor, nn

from sslkit.functional.distillation_losses import centered
from sslkit.functional.precision import at_least_float32
from sslkit.functional.sinkhorn import sinkhorn

Centering = Literal["center", "sinkhorn", "none"]
ITERATIONS = 3  # DINOv2 `ssl_meta_arch.py`, SwAV


@final
class Center(nn.Module):
    """Turns the teacher's logits into probabilities; holds the moving mean of logits where that is subtracted.

    The mean starts at 0 and moves after the step (DINO `update_center`), by the rows of all micro-batches and ranks.
    """

    center: Tensor

    def __init__(self, prototypes: int, centering: Centering, momentum: float) -> None:
        super().__init__()
        self.centering, self.momentum = centering, momentum
        if centering == "center":
            self.register_buffer("center", torch.zeros(prototypes))

    @property
    def moves(self) -> bool:
        """Whether `commit` wants sums of logits."""
        return self.centering == "center"

    @property
    def compares(self) -> bool:
        """Whether the probabilities of a row depend on the other rows."""
        return self.centering == "sinkhorn"

    def forward(self, logits: Tensor, temperature: Tensor, real: Tensor | None = None) -> Tensor:
        """Probabilities in at least float32.

        Args:
            logits: `[..., K]`.
            temperature: 0-dim.
            real: `[...]` booleans, false for rows that only fill a fixed shape up. Default: all are real.
        """
        wide = at_least_float32(logits)
        if self.centering == "sinkhorn":
            rows = None if real is None else real.flatten()
            return sinkhorn(wide.flatten(0, -2), temperature, ITERATIONS, rows).view_as(wide)
        return centered(wide, self.center if self.moves else None, temperature)

    def commit(self, rows: Mapping[str, Tensor]) -> None:
        """Move the mean. `rows`: `sum` `[n, K]` of logits and `count` `[n, 1]` of those summed."""
        count = rows["count"].sum()
        mean = rows["sum"].sum(0) / count.clamp(min=1)
        moved = self.center.lerp(mean.to(self.center.dtype), 1 - self.momentum)
        self.center.copy_(torch.where(count > 0, moved, self.center))  # where nothing was summed it stays


def tallied(total: Tensor, count: Tensor | int) -> dict[str, Tensor]:
    """Rows of `Center.commit` for the sum `total` `[K]` of `count` logits."""
    rows = total[None]
    return {"sum": rows, "count": torch.as_tensor(count, dtype=rows.dtype, device=rows.device).view(1, 1)}
