"""Buffers over ranks: running statistics are averaged, other differences are refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from sslkit.errors import SpecError
from sslkit.functional.submodules import submodules
from sslkit.nn.batch_norm import is_per_rank
from sslkit.runtime.parallel import Parallel
from sslkit.runtime.tensor_slots import Slot, buffer_slots

SLACK = 1e-3
"""Share of a buffer's largest value by which ranks may differ: far above rounding, far below what other images make."""


@final
class SharedStatistics:
    """Running statistics of norms that each rank makes of its own images. After a step all ranks have their mean.

    That of means is the mean of all images; that of variances is the mean variance within a rank, as the norm uses it.
    """

    def __init__(self, modules: Sequence[nn.Module], parallel: Parallel) -> None:
        norms = [norm for module in modules for norm in submodules(module, _NormBase) if _alone(norm)]
        self._parallel = parallel
        self._slots: list[Slot] = [
            slot for norm in norms if parallel.world > 1 for slot in buffer_slots(norm).values()
        ]

    @torch.no_grad()
    def average(self) -> None:
        """One exchange for all of them; none in one process."""
        if not self._slots:
            return
        buffers = [slot.get() for slot in self._slots]
        means = self._parallel.mean(torch.cat([buffer.flatten() for buffer in buffers]))
        parts = means.split([buffer.numel() for buffer in buffers])
        for buffer, part in zip(buffers, parts, strict=True):
            buffer.copy_(part.view_as(buffer))


def _alone(norm: _NormBase) -> bool:
    """Whether it keeps running statistics of the images of one rank, and is at it."""
    return norm.training and norm.running_mean is not None and is_per_rank(norm)


def is_watched(step: int) -> bool:
    """Whether ranks compare their buffers after `step` (from 0): the first two, and ever more rarely."""
    return (step + 1) & step == 0


def require_equal_buffers(modules: Sequence[nn.Module], parallel: Parallel) -> None:
    """Compare the buffers of all ranks, which must all ask.

    Raises:
        SpecError: names the first that differs by more than rounding.
    """
    if parallel.world == 1:
        return
    named = [(name, b.detach()) for module in modules for name, b in module.named_buffers() if b.numel()]
    if not named:
        return
    values = torch.cat([_numbers(buffer) for _, buffer in named])
    apart = parallel.spread(values)
    sizes = [buffer.numel() for _, buffer in named]
    for (name, _), difference, value in zip(named, apart.split(sizes), values.split(sizes), strict=True):
        if difference.max() > SLACK * value.abs().max():
            raise SpecError(
                f"buffer {name!r} is not the same on all {parallel.world} ranks, so that they would evaluate and save "
                "another network each: a module writes into it what it makes of its own rank's images. Use batch norm "
                "(of torch or `sslkit.nn.batch_norm`), or change buffers in `commit`, which gets the rows of all ranks"
            )


def _numbers(buffer: Tensor) -> Tensor:
    """Flat, in a type that holds any."""
    return torch.nan_to_num(buffer.flatten().double(), nan=0.0)
