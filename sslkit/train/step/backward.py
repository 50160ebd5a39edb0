"""Backward passes: gradients of the balanced loss, or of each term, weighed by their Gram matrix."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Self, final

import torch
from torch import Tensor, nn

from sslkit.core.balancer import Balancer
from sslkit.core.random_stream import Draw
from sslkit.core.system import Stepped, System
from sslkit.functional import gradient_weights
from sslkit.runtime.dtensor import like, local, sharded
from sslkit.runtime.parallel import Parallel
from sslkit.train.step.balancing import Balance

Scaled = Callable[[Tensor], Tensor]
"""What is differentiated in place of the total."""


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
    def to_cut(self, stepped: Stepped, leaves: Sequence[Tensor], measured: bool, draw: Draw) -> None:
        """Backward of a rank's share as a whole, from the losses to `leaves`, the tokens of the student that they read.

        Heads get their gradients; those of the student follow by `through`. Nothing is exchanged before `finish`.
        """

    @abstractmethod
    def through(self, answers: Sequence[Tensor], rows: slice) -> None:
        """Backward through the student for a micro-batch: `answers` are its outputs for `leaf[:, rows]`, by leaf."""

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
class Pull(tuple[Tensor | None, ...]):
    """The gradient of a loss on each leaf; None where it does not read it."""

    @classmethod
    def of(cls, loss: Tensor, leaves: Sequence[Tensor], *, more: bool) -> Self:
        """Differentiate `loss`, which adds to the gradients of heads. `more`: the graph will be needed again."""
        loss.backward(retain_graph=more)
        pull = cls(leaf.grad for leaf in leaves)
        _clear(leaves)
        return pull

    def on(self, answers: Sequence[Tensor], rows: slice) -> tuple[list[Tensor], list[Tensor]]:
        """Those of `answers`, one for each leaf, that are read, and the gradients of their `rows`."""
        pairs = [(a, pull[:, rows]) for a, pull in zip(answers, self, strict=True) if pull is not None]
        return [answer for answer, _ in pairs], [gradient for _, gradient in pairs]

    def through(self, answers: Sequence[Tensor], rows: slice, *, more: bool) -> None:
        """Differentiate `answers`, which leaf by leaf are `rows` of what losses read."""
        tensors, pulls = self.on(answers, rows)
        if tensors:
            torch.autograd.backward(tensors, pulls, retain_graph=more)


@final
class OfTotal(Backward):
    """The gradient of the balanced scalar; ranks exchange it in the last micro-batch.

    A step that is measured makes K further backwards through its forward and puts nothing of them into the gradient:
    it stays as it is to the last bit. (Under FSDP2 with micro-batches ranks then exchange after each, and sums differ
    by rounding.)
    """

    def __init__(self, system: System, parallel: Parallel, scaled: Scaled) -> None:
        self._parallel, self._scaled = parallel, scaled
        self._shared = _shared(system)
        self._all = _trained(system)
        self._sharded = any(sharded(p) is not None for p in self._all)
        self._rows = Sum()
        self._weights: Tensor | None = None
        self._pull, self._pulls = Pull([]), list[Pull]()
        self._local = False

    def exchange(self, run: nn.Module, last: bool, measured: bool) -> AbstractContextManager[None]:
        """Only in the last."""
        if last:
            return contextlib.nullcontext()
        return self._parallel.separate(run) if measured else self._parallel.accumulating(run)

    def add(self, stepped: Stepped, share: float, measured: bool) -> None:
        self._weights = stepped.weights
        if measured:
            for i, loss in enumerate(stepped.losses):
                self._rows.add(i, len(stepped.losses), self._row([loss * share], [None]))
        (self._scaled(stepped.total) * share).backward()

    def to_cut(self, stepped: Stepped, leaves: Sequence[Tensor], measured: bool, draw: Draw) -> None:
        """One backward, and one of each loss where that is measured."""
        self._weights, self._local = stepped.weights, True
        losses = stepped.losses if measured else ()
        self._pulls = [Pull(self._untraced([loss], [None], leaves)) for loss in losses]
        self._pull = Pull.of(self._scaled(stepped.total), leaves, more=False)

    def through(self, answers: Sequence[Tensor], rows: slice) -> None:
        """One backward, and one of each loss where that is measured."""
        for i, pull in enumerate(self._pulls):
            self._rows.add(i, len(self._pulls), self._row(*pull.on(answers, rows)))
        self._pull.through(answers, rows, more=False)

    def finish(self, draw: Draw) -> Balance:
        """Only what was measured is left to join."""
        if self._local and not self._sharded:
            _exchange(self._all, self._parallel)
        self._pull, self._pulls = Pull([]), []
        rows = self._rows.take()
        gram = None if rows is None else self._parallel.gram(self._parallel.reduce(rows))
        return Balance(self._weights, gram)

    def _row(self, tensors: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> Tensor:
        """The gradient on the shared parameters, `[P]`, of `tensors` with these `gradients`."""
        return _joined(self._shared, self._untraced(tensors, gradients, self._shared))

    def _untraced(
        self, tensors: Sequence[Tensor], gradients: Sequence[Tensor | None], inputs: Sequence[Tensor]
    ) -> list[Tensor | None]:
        """The gradients on `inputs`, without a trace of them."""
        if not tensors:
            return [None] * len(inputs)
        if not self._sharded:  # runs no hook of DistributedDataParallel, which counts on one backward
            return list(torch.autograd.grad(tensors, inputs, gradients, retain_graph=True, allow_unused=True))
        kept = [p.grad for p in self._all]  # FSDP2 fills shards by hooks, which only `backward` runs
        _clear(self._all)
        torch.autograd.backward(tensors, gradients, retain_graph=True)
        parts = [x.grad for x in inputs]
        _clear(inputs)
        for parameter, gradient in zip(self._all, kept, strict=True):
            parameter.grad = gradient
        return parts


@final
class OfEach(Backward):
    """One backward for each term. Its gradient on shared parameters is a row; heads keep their own gradient."""

    def __init__(self, system: System, parallel: Parallel) -> None:
        self._parallel = parallel
        self._balancer: Balancer = system.balancer
        self._shared = _shared(system)
        self._heads = _heads(system)
        self._rows = Sum()
        self._pulls: list[Pull] = []
        self._reached: set[int] = set()

    def exchange(self, run: nn.Module, last: bool, measured: bool) -> AbstractContextManager[None]:
        """Never: `finish` exchanges the rows."""
        return self._parallel.separate(run)

    def add(self, stepped: Stepped, share: float, measured: bool) -> None:
        count = len(stepped.losses)
        for i, loss in enumerate(stepped.losses):
            (loss * share).backward(retain_graph=i < count - 1)
            self._rows.add(i, count, self._row())

    def to_cut(self, stepped: Stepped, leaves: Sequence[Tensor], measured: bool, draw: Draw) -> None:
        last = len(stepped.losses) - 1
        self._pulls = [Pull.of(loss, leaves, more=i < last) for i, loss in enumerate(stepped.losses)]

    def through(self, answers: Sequence[Tensor], rows: slice) -> None:
        for i, pull in enumerate(self._pulls):
            pull.through(answers, rows, more=i < len(self._pulls) - 1)
            self._rows.add(i, len(self._pulls), self._row())

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
        self._pulls = []
        _exchange(self._heads, self._parallel)
        return Balance(weights, gram)

    def _row(self) -> Tensor:
        """The gradient on the shared parameters, `[P]`, taken from them."""
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
        self._shared = _of_nets(system, system.trained)
        self._heads = _of_objectives(system)
        self._answers: list[Tensor] = []
        self._pulls: list[Pull] = []
        self._weighed, self._balance = Pull([]), Balance(None, None)

    def exchange(self, run: nn.Module, last: bool, measured: bool) -> AbstractContextManager[None]:
        """Never: `finish` exchanges the gradient."""
        return self._parallel.separate(run)

    def add(self, stepped: Stepped, share: float, measured: bool) -> None:
        """K backwards from the losses to the cut; the rest waits for `finish`."""
        assert share == 1, (
            "weights are those of the whole batch, so micro-batches go by `to_cut` and `through`"
        )
        self._set_pulls(stepped.losses, [cut.leaf for cut in stepped.cuts])
        self._answers = [cut.answer for cut in stepped.cuts]

    def to_cut(self, stepped: Stepped, leaves: Sequence[Tensor], measured: bool, draw: Draw) -> None:
        """K backwards, which are weighed."""
        self._set_pulls(stepped.losses, leaves)
        self._weigh(draw)

    def through(self, answers: Sequence[Tensor], rows: slice) -> None:
        self._weighed.through(answers, rows, more=False)

    def finish(self, draw: Draw) -> Balance:
        """Weigh, then one backward through the student, where that is still to be done."""
        if self._answers:
            self._weigh(draw)
            self._weighed.through(self._answers, slice(None), more=False)
        _exchange(self._shared, self._parallel)
        _exchange(self._heads, self._parallel)
        balance, self._balance = self._balance, Balance(None, None)
        self._answers, self._pulls, self._weighed = [], [], Pull([])
        return balance

    def _set_pulls(self, losses: Sequence[Tensor], leaves: Sequence[Tensor]) -> None:
        last = len(losses) - 1
        self._pulls = [Pull.of(loss, leaves, more=i < last) for i, loss in enumerate(losses)]

    def _weigh(self, draw: Draw) -> None:
        """What no loss reads gets no gradient, not even zeros. Ranks hold the tokens of different images."""
        columns: list[Tensor | None] = [_stacked(parts) for parts in zip(*self._pulls, strict=True)]
        read = [rows for rows in columns if rows is not None]
        products = torch.stack([gradient_weights.products(rows.flatten(1)) for rows in read]).sum(0)
        gram = self._parallel.total(products) / self._parallel.world**2  # a rank's loss counts by 1 / world
        weights = self._balancer.weigh(gram, draw)
        self._weighed = Pull(
            None if rows is None else torch.tensordot(weights.to(rows.dtype), rows, 1) for rows in columns
        )
        self._balance = Balance(weights, gram)


def _stacked(parts: Sequence[Tensor | None]) -> Tensor | None:
    """The gradients of K losses on one leaf, `[K, ...]`, zero where a loss does not read it; None where none does."""
    like = next((part for part in parts if part is not None), None)
    if like is None:
        return None
    return torch.stack([torch.zeros_like(like) if part is None else part for part in parts])


def _trained(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in module.parameters() if p.requires_grad]


def _of_nets(system: System, names: Sequence[str]) -> list[nn.Parameter]:
    return [p for name in names for p in _trained(system.nets[name])]


def _shared(system: System) -> list[nn.Parameter]:
    """Parameters whose gradients are weighed: of the student, and of towers that two terms reach."""
    return _of_nets(system, system.shared_by(2))


def _heads(system: System) -> list[nn.Parameter]:
    """Those of the objectives, and of towers that one term alone reaches."""
    alone = [name for name in system.trained if name not in system.shared_by(2)]
    return [*_of_nets(system, alone), *_of_objectives(system)]


def _of_objectives(system: System) -> list[nn.Parameter]:
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


def unscaled(total: Tensor) -> Tensor:
    """`total` as it is."""
    return total


def backward_of(system: System, parallel: Parallel, scaled: Scaled = unscaled) -> Backward:
    """How this system's balancer wants its gradients; those of the total are of what `scaled` makes of it."""
    if not system.balancer.weighs_gradients:
        return OfTotal(system, parallel, scaled)
    return (OfEach if system.balancer.space == "parameters" else OfFeatures)(system, parallel)
