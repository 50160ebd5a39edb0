"""Backward: gradients of the balanced loss, or of each objective, weighed by their products."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import final

import torch
from torch import Tensor, nn

from sslkit.core.balancer import Balancer
from sslkit.core.draw import Draw
from sslkit.core.system import Stepped, System
from sslkit.train.parallel import Parallel


class Backward(ABC):
    """Fills the gradients of one step, micro-batch by micro-batch."""

    @abstractmethod
    def exchange(self, run: nn.Module, last: bool) -> AbstractContextManager[None]:
        """Around the forward and backward of a micro-batch: whether ranks exchange gradients in it."""

    @abstractmethod
    def add(self, stepped: Stepped, share: float) -> None:
        """Add the gradients of a micro-batch whose share of the step is `share`."""

    @abstractmethod
    def finish(self, draw: Draw) -> None:
        """After the last micro-batch; `draw` is the balancer's."""


@final
class OfTotal(Backward):
    """The gradient of the balanced scalar; ranks exchange it in the last micro-batch."""

    def __init__(self, parallel: Parallel) -> None:
        self._parallel = parallel

    def exchange(self, run: nn.Module, last: bool) -> AbstractContextManager[None]:
        """Only in the last."""
        return contextlib.nullcontext() if last else self._parallel.accumulating(run)

    def add(self, stepped: Stepped, share: float) -> None:
        """One backward."""
        (stepped.total * share).backward()

    def finish(self, draw: Draw) -> None:
        """Nothing is left to do."""


@final
class OfEach(Backward):
    """One backward for each objective. Its gradient on shared parameters is a row; heads keep their own gradient."""

    def __init__(self, system: System, parallel: Parallel) -> None:
        self._parallel = parallel
        self._balancer: Balancer = system.balancer
        self._shared = [p for p in system.nets["student"].parameters() if p.requires_grad]
        self._own = [p for p in system.objectives.parameters() if p.requires_grad]
        self._rows: Tensor | None = None

    def exchange(self, run: nn.Module, last: bool) -> AbstractContextManager[None]:
        """Never: `finish` exchanges the rows."""
        return self._parallel.accumulating(run)

    def add(self, stepped: Stepped, share: float) -> None:
        """K backwards through one forward."""
        losses = [loss * share for loss in stepped.losses]
        rows = torch.stack([self._row(loss, i < len(losses) - 1) for i, loss in enumerate(losses)])
        self._rows = rows if self._rows is None else self._rows + rows

    def finish(self, draw: Draw) -> None:
        """Weigh the rows by their Gram matrix, which is that of the whole batch on every rank."""
        assert self._rows is not None, "a step has at least one micro-batch"
        rows, self._rows = self._parallel.mean(self._rows), None
        weights = self._balancer.weigh((rows @ rows.T).double(), draw)
        _assign(self._shared, weights.to(rows.dtype) @ rows)
        own = [p for p in self._own if p.grad is not None]
        _assign(own, self._parallel.mean(_flat(own)))

    def _row(self, loss: Tensor, more: bool) -> Tensor:
        """The gradient of `loss` on the shared parameters, `[P]`."""
        loss.backward(retain_graph=more)
        row = _flat(self._shared)
        for parameter in self._shared:
            parameter.grad = None
        return row


def _flat(parameters: Sequence[nn.Parameter]) -> Tensor:
    """All gradients in one vector, zero where a loss does not reach."""
    parts = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters]
    return torch.cat(parts) if parts else torch.zeros(0)


def _assign(parameters: Sequence[nn.Parameter], values: Tensor) -> None:
    for parameter, part in zip(parameters, values.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = part.view_as(parameter)


def backward_of(system: System, parallel: Parallel) -> Backward:
    """How this system's balancer wants its gradients."""
    return OfEach(system, parallel) if system.balancer.weighs_gradients else OfTotal(parallel)
