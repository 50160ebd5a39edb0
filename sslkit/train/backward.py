"""Backward: gradients of the balanced loss, or of each term, weighed by their products."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import final

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from sslkit.core.balancer import Balancer
from sslkit.core.draw import Draw
from sslkit.core.system import Stepped, System
from sslkit.errors import SpecError
from sslkit.functional import gradients
from sslkit.train.balance import Balance
from sslkit.train.parallel import Parallel
from sslkit.train.shards import like, local


class Backward(ABC):
    """Fills the gradients of one step, micro-batch by micro-batch."""

    @abstractmethod
    def exchange(self, run: nn.Module, last: bool, measured: bool) -> AbstractContextManager[None]:
        """Around the forward and backward of a micro-batch: whether ranks exchange gradients in it."""

    @abstractmethod
    def add(self, stepped: Stepped, share: float, measured: bool) -> None:
        """Add the gradients of a micro-batch whose share of the step is `share`.

        `measured`: the products of the terms' gradients are wanted of this step, whatever the balancer needs.
        """

    @abstractmethod
    def finish(self, draw: Draw) -> Balance:
        """After the last micro-batch; `draw` is the balancer's."""


@final
class Sum:
    """Gradients `[K, P]`, added up in place: a large network's K rows should be held once."""

    def __init__(self) -> None:
        self._rows: Tensor | None = None

    def add(self, i: int, count: int, row: Tensor) -> None:
        """Add `row` to the one numbered `i` of `count`."""
        if self._rows is None:
            self._rows = row.new_zeros(count, len(row))
        self._rows[i] += row

    def take(self) -> Tensor | None:
        """The rows, which are forgotten; None if there were none."""
        rows, self._rows = self._rows, None
        return rows


@final
class OfTotal(Backward):
    """The gradient of the balanced scalar; ranks exchange it in the last micro-batch.

    A step that is measured makes K further backwards through its forward and puts nothing of them into the gradient:
    it stays as it is to the last bit. (Under FSDP2 with micro-batches ranks then exchange after each, and sums differ
    by rounding.)
    """

    def __init__(self, system: System, parallel: Parallel) -> None:
        self._parallel = parallel
        self._shared = _trained(system.nets["student"])
        self._all = _trained(system)
        self._sharded = any(isinstance(p, DTensor) for p in self._all)
        self._rows = Sum()
        self._weights: Tensor | None = None

    def exchange(self, run: nn.Module, last: bool, measured: bool) -> AbstractContextManager[None]:
        """Only in the last."""
        if last:
            return contextlib.nullcontext()
        return self._parallel.separate(run) if measured else self._parallel.accumulating(run)

    def add(self, stepped: Stepped, share: float, measured: bool) -> None:
        """One backward."""
        self._weights = stepped.weights
        if measured:
            for i, loss in enumerate(stepped.losses):
                self._rows.add(i, len(stepped.losses), self._row(loss * share))
        (stepped.total * share).backward()

    def finish(self, draw: Draw) -> Balance:
        """Only what was measured is left to join."""
        rows = self._rows.take()
        gram = None if rows is None else self._parallel.gram(self._parallel.reduce(rows))
        return Balance(self._weights, gram)

    def _row(self, loss: Tensor) -> Tensor:
        """The gradient of `loss` on the shared parameters, `[P]`, without a trace of it."""
        if not self._sharded:  # runs no hook of DistributedDataParallel, which counts on one backward
            parts = torch.autograd.grad(loss, self._shared, retain_graph=True, allow_unused=True)
            return _joined(self._shared, parts)
        kept = [p.grad for p in self._all]  # FSDP2 fills shards by hooks, which only `backward` runs
        _clear(self._all)
        loss.backward(retain_graph=True)
        row = _flat(self._shared)
        for parameter, gradient in zip(self._all, kept, strict=True):
            parameter.grad = gradient
        return row


@final
class OfEach(Backward):
    """One backward for each term. Its gradient on shared parameters is a row; heads keep their own gradient."""

    def __init__(self, system: System, parallel: Parallel) -> None:
        self._parallel = parallel
        self._balancer: Balancer = system.balancer
        self._shared = _trained(system.nets["student"])
        self._own = _heads(system)
        self._rows = Sum()
        self._reached: set[int] = set()

    def exchange(self, run: nn.Module, last: bool, measured: bool) -> AbstractContextManager[None]:
        """Never: `finish` exchanges the rows."""
        return self._parallel.separate(run)

    def add(self, stepped: Stepped, share: float, measured: bool) -> None:
        """K backwards through one forward."""
        count = len(stepped.losses)
        for i, loss in enumerate(stepped.losses):
            self._rows.add(i, count, self._row(loss * share, i < count - 1))

    def finish(self, draw: Draw) -> Balance:
        """Weigh the rows by their Gram matrix, which is that of the whole batch on every rank."""
        rows = self._rows.take()
        assert rows is not None, "a step has at least one micro-batch"
        rows = self._parallel.reduce(rows)
        gram = self._parallel.gram(rows)
        weights = self._balancer.weigh(gram, draw)
        _assign(self._shared, weights.to(rows.dtype) @ rows)
        _clear([p for i, p in enumerate(self._shared) if i not in self._reached])  # by no loss: not trained
        self._reached.clear()
        _exchange(self._own, self._parallel)
        return Balance(weights, gram)

    def _row(self, loss: Tensor, more: bool) -> Tensor:
        """The gradient of `loss` on the shared parameters, `[P]`."""
        loss.backward(retain_graph=more)
        self._reached.update(i for i, p in enumerate(self._shared) if p.grad is not None)
        row = _flat(self._shared)
        _clear(self._shared)
        return row


@final
class OfFeatures(Backward):
    """One backward of each term to the tokens that it reads, and one of all, weighed, through the student.

    What is minimized or projected is thus the gradient on the tokens Z. It bounds that on the parameters:
    |sum w dL/dtheta| <= |dZ/dtheta| |sum w dL/dZ| (Sener and Koltun 2018, MGDA-UB), so where the right side's vector is
    stationary, so is the left one's. Weights are those of the whole batch, so a rank's share is one micro-batch.
    """

    def __init__(self, system: System, parallel: Parallel) -> None:
        self._parallel = parallel
        self._balancer: Balancer = system.balancer
        self._shared = _trained(system.nets["student"])
        self._own = _heads(system)
        self._answers: list[Tensor] = []
        self._rows: list[Tensor] = []

    def exchange(self, run: nn.Module, last: bool, measured: bool) -> AbstractContextManager[None]:
        """Never: `finish` exchanges the gradient."""
        return self._parallel.separate(run)

    def add(self, stepped: Stepped, share: float, measured: bool) -> None:
        """K backwards from the losses to the cut. What no loss reads gets no gradient, not even zeros."""
        leaves = [cut.leaf for cut in stepped.cuts]
        rows = []
        for loss in stepped.losses:
            (loss * share).backward()
            rows.append([z.grad for z in leaves])
            _clear(leaves)
        columns = list(zip(stepped.cuts, zip(*rows, strict=True), strict=True))
        read = [(cut, parts) for cut, parts in columns if any(part is not None for part in parts)]
        self._answers = [cut.answer for cut, _ in read]
        self._rows = [
            torch.stack([torch.zeros_like(cut.leaf) if part is None else part for part in parts])
            for cut, parts in read
        ]

    def finish(self, draw: Draw) -> Balance:
        """Weigh, then one backward through the student. Ranks hold the tokens of different images."""
        products = torch.stack([gradients.products(rows.flatten(1)) for rows in self._rows]).sum(0)
        gram = self._parallel.total(products) / self._parallel.world**2  # a rank's loss counts by 1 / world
        weights = self._balancer.weigh(gram, draw)
        joined = [torch.tensordot(weights.to(rows.dtype), rows, 1) for rows in self._rows]
        torch.autograd.backward(self._answers, joined)
        self._answers, self._rows = [], []
        _exchange(self._shared, self._parallel)
        _exchange(self._own, self._parallel)
        return Balance(weights, gram)


def _trained(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in module.parameters() if p.requires_grad]


def _heads(system: System) -> list[nn.Parameter]:
    """Parameters of the objectives, and of the balancers of hybrids inside."""
    return [*_trained(system.objectives), *_trained(system.inner)]


def _joined(parameters: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> Tensor:
    """All gradients of this rank's part in one vector, zero where a loss does not reach."""
    pairs = zip(parameters, gradients, strict=True)
    parts = [(torch.zeros_like(local(p)) if g is None else local(g)).flatten() for p, g in pairs]
    return torch.cat(parts) if parts else torch.zeros(0)


def _flat(parameters: Sequence[Tensor]) -> Tensor:
    return _joined(parameters, [p.grad for p in parameters])


def _clear(tensors: Sequence[Tensor]) -> None:
    for tensor in tensors:
        tensor.grad = None


def _assign(parameters: Sequence[nn.Parameter], values: Tensor) -> None:
    for parameter, part in zip(parameters, values.split([local(p).numel() for p in parameters]), strict=True):
        parameter.grad = like(part, parameter)


def _exchange(parameters: Sequence[nn.Parameter], parallel: Parallel) -> None:
    """Make the gradients that are there means over ranks."""
    reached = [p for p in parameters if p.grad is not None]
    if reached and parallel.world > 1:
        _assign(reached, parallel.reduce(_flat(reached)))


def backward_of(
    system: System, parallel: Parallel, micro_batches: int = 1, path: str = "balance"
) -> Backward:
    """How this system's balancer, which the spec has at `path`, wants its gradients.

    Raises:
        SpecError: it weighs gradients on features, and a rank's share of the batch is cut into `micro_batches`.
    """
    if not system.balancer.weighs_gradients:
        return OfTotal(system, parallel)
    if system.balancer.space == "parameters":
        return OfEach(system, parallel)
    if micro_batches > 1:
        raise SpecError(
            f"{path}.space: `features` weighs the whole batch at once, but `micro_batch_size` cuts a rank's share "
            f"into {micro_batches}; leave `micro_batch_size` out, or use `space: parameters`"
        )
    return OfFeatures(system, parallel)
