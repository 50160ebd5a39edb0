"""Exponential moving averages: teacher nets and the twins of objectives, in one fused update per net."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, final

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sslkit.core.objective import Objective
from sslkit.errors import SpecError
from sslkit.functional.submodules import named_submodules, submodules
from sslkit.runtime.dtensor import in_place
from sslkit.runtime.tensor_slots import Slot, buffer_slots, parameter_slots
from sslkit.specs.nets import NetSpec
from sslkit.specs.schedule import value_at


def set_modes(nets: Mapping[str, nn.Module], specs: Mapping[str, NetSpec]) -> None:
    """Training mode for what is trained. Others are in evaluation mode, except batch norm that uses its own batch."""
    for name, net in nets.items():
        net.train(name not in specs)
        if name in specs and specs[name].is_average and specs[name].batch_norm == "batch":
            for norm in submodules(net, _BatchNorm):
                norm.train()


class Pairs(NamedTuple):
    """Where averages are, and at the same places what they average."""

    average: list[Slot]
    online: list[Slot]


@final
class Averages:
    """average <- momentum * average + (1 - momentum) * online: parameters, and batch-norm statistics if asked for.

    Values are looked up at every update: a module may be converted or moved, which can give it other tensors.
    """

    def __init__(
        self, specs: Mapping[str, NetSpec], nets: Mapping[str, nn.Module], objectives: Mapping[str, Objective]
    ) -> None:
        self._specs = specs
        self._pairs: dict[str, Pairs] = {
            name: _pair(f"nets.{name}", _values(nets[spec.of], spec), _values(nets[name], spec))
            for name, spec in specs.items()
            if spec.is_average
        }
        for label, objective in objectives.items():
            for online, average in objective.twins.items():
                self._add_twin(label, objective, online, average)

    def _add_twin(self, label: str, objective: Objective, online: str, average: str) -> None:
        if objective.follows not in self._pairs:
            raise SpecError(
                f"objectives.{label}: needs a net {objective.follows!r} whose momentum its heads follow; "
                f"add `nets: {{{objective.follows}: {{}}}}`"
            )
        twins = (parameter_slots(objective.get_submodule(name)) for name in (online, average))
        more = _pair(f"objectives.{label}.{average}", *twins)
        for ours, theirs in zip(self._pairs[objective.follows], more, strict=True):
            ours.extend(theirs)

    @torch.no_grad()
    def update(self, when: str, step: int, total: int) -> None:
        """Move the nets that update at `when`, by their momentum at `step` of `total`."""
        for name, pairs in self._pairs.items():
            spec = self._specs[name]
            if spec.update == when and pairs.average:
                average, online = ([in_place(slot.get()) for slot in slots] for slots in pairs)
                torch._foreach_lerp_(average, online, 1.0 - value_at(spec.momentum, step, total))


def _values(net: nn.Module, spec: NetSpec) -> dict[str, Slot]:
    """What is averaged: parameters, and the statistics of batch norm where the net uses averaged ones."""
    statistics = {
        f"{prefix}.{name}": slot
        for prefix, norm in named_submodules(net, _BatchNorm)
        if spec.batch_norm == "average"
        for name, slot in buffer_slots(norm).items()
    }
    return parameter_slots(net) | statistics


def _pair(where: str, online: Mapping[str, Slot], average: Mapping[str, Slot]) -> Pairs:
    """Slots of common names: what only the student has (a mask token) is left out, as iBOT does.

    Raises:
        SpecError: the average has what the student has not, or in another shape, type or place; it would stand still.
    """
    alone = [name for name in average if name not in online]
    if alone:
        raise SpecError(
            f"{where}: has {alone[0]!r}, which what it averages has not; change both alike (one was parametrized?)"
        )
    for name, slot in average.items():
        one, other = online[name].get(), slot.get()
        if one.shape != other.shape:
            raise SpecError(f"{where}: twins differ in shape: {tuple(one.shape)} and {tuple(other.shape)}")
        if (one.dtype, one.device) != (other.dtype, other.device):
            raise SpecError(
                f"{where}: {name!r} is {other.dtype} on {other.device}, but what it averages is {one.dtype} on "
                f"{one.device}; convert the whole system, not one net"
            )
    return Pairs(list(average.values()), [online[name] for name in average])
