"""Copies of nets, which take new weights now and then and stay as they are in between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, final

import torch
from torch import nn

from sslkit.runtime.dtensor import in_place
from sslkit.runtime.tensor_slots import Slot, buffer_slots, parameter_slots
from sslkit.specs.nets import NetSpec, Refresh


class Copied(NamedTuple):
    """A copy and what it is of: tensors at the same places."""

    when: Refresh
    copy: list[Slot]
    original: list[Slot]


@final
class Copies:
    """Puts the weights and running statistics of other nets into the copies that ask for it.

    When depends on the number of steps alone, so that a resumed run goes on as it would have. Tensors are written in
    place: a compiled forward stays as it is.
    """

    def __init__(self, specs: Mapping[str, NetSpec], nets: Mapping[str, nn.Module]) -> None:
        self._copied = [
            _copied(spec.refreshed, nets[name], nets[spec.refreshed.of])
            for name, spec in specs.items()
            if spec.refreshed is not None
        ]

    @torch.no_grad()
    def refresh(self, done: int, steps_per_epoch: int) -> None:
        """Renew those that are due after `done` steps, once moving averages have moved."""
        for when, copy, original in self._copied:
            if when.due(done, steps_per_epoch):
                targets, sources = ([in_place(slot.get()) for slot in slots] for slots in (copy, original))
                torch._foreach_copy_(targets, sources)


def _copied(when: Refresh, copy: nn.Module, original: nn.Module) -> Copied:
    """Both are copies of the student as it was built, so that names are the same, a mask token's included."""
    ours, theirs = (parameter_slots(net) | buffer_slots(net) for net in (copy, original))
    return Copied(when, list(ours.values()), [theirs[name] for name in ours])
