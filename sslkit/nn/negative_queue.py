"""MoCo's queue of negatives: embeddings of earlier batches. K places, D width."""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@final
class Queue(nn.Module):
    """The newest K rows; new ones take the places of the oldest. Starts as random rows of length 1 (MoCo)."""

    rows: Tensor
    """`[K, D]`."""
    place: Tensor
    """Where the next row goes; 0-dim int64, on the device, so that nothing waits for it."""

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("rows", F.normalize(torch.randn(size, dim), dim=-1))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))

    def forward(self) -> Tensor:
        """The rows `[K, D]`, in no order that means anything."""
        return self.rows

    @torch.no_grad()
    def commit(self, rows: Tensor) -> None:
        """Put `rows` `[M, D]` in, at most K; K need not be a multiple of M (MoCo's must)."""
        places = (self.place + torch.arange(len(rows), device=rows.device)) % len(self.rows)
        self.rows[places] = rows.to(self.rows.dtype)
        self.place.add_(len(rows)).remainder_(len(self.rows))
