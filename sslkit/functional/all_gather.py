"""All-gather with gradient, for losses that compare images with each other."""

from __future__ import annotations

from typing import final

import torch
import torch.distributed as dist
from torch import Tensor
from torch._subclasses import FakeTensor


def all_rows(rows: Tensor) -> Tensor:
    """The `rows` `[B, ...]` of every rank, `[ranks * B, ...]` in rank order; `rows` itself in one process.

    Every rank must call it, with equal shapes. Each rank's rows get the sum of the gradients that all ranks have for
    them. So a loss that every rank computes from all rows, and whose gradients ranks then average, has the gradient of
    one process on the joined batch.
    """
    if isinstance(rows, FakeTensor):  # only shapes are asked for, of all ranks' rows in one
        return rows
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return rows
    gathered: Tensor = _Gather.apply(rows)
    return gathered


@final
class _Gather(torch.autograd.Function):
    """In calls that the compiler traces, which `torch.distributed.nn.functional.all_gather` is not."""

    @staticmethod
    def forward(ctx: object, rows: Tensor) -> Tensor:
        gathered = rows.new_empty(dist.get_world_size() * len(rows), *rows.shape[1:])
        dist.all_gather_into_tensor(gathered, rows.contiguous())
        return gathered

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]
