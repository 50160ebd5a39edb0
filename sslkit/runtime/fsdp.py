"""FSDP2: a system in shards, and a stand-in for reading it whole."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

from sslkit.core.system import System
from sslkit.errors import SpecError
from sslkit.runtime.dtensor import full_tensor


def shard(system: System, mesh: DeviceMesh) -> list[nn.Parameter]:
    """Shard the parameters over `mesh`, in place: the units of each net, each net, then all else.

    What is sharded together is gathered together, where its forward begins, and freed where it ends.

    Returns:
        Parameters without a dimension to cut (learned temperatures), which every rank keeps.

    Raises:
        SpecError: a net has such a parameter.
    """
    uncut = {name: p for name, p in system.named_parameters() if p.ndim == 0}
    if odd := [name for name in uncut if name.startswith("nets.")]:
        raise SpecError(
            f"parallel: fsdp cannot cut {odd[0]!r}, a number without a dimension; use `parallel=ddp`"
        )
    # a hook goes missing where such an answer is changed in place, which objectives, pure functions, never do
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor", UserWarning)
    for net in system.nets.values():
        for part in (*net.units(), net):
            if next(part.parameters(), None) is not None:
                fully_shard(part, mesh=mesh)
    fully_shard(system, mesh=mesh, ignored_params=set(uncut.values()))
    for name in (
        "look",
        "trained_answers",
        "other_answers",
        "losses_of",
    ):  # with `forward` they have one root
        register_fsdp_forward_method(system, name)
    return [p for p in uncut.values() if p.requires_grad]


def stand_in(system: System) -> System:
    """A copy of `system` without the memory of its parameters."""
    memo: dict[int, object] = {id(p): _empty(p) for p in system.parameters()}
    return copy.deepcopy(system, memo)


@contextlib.contextmanager
def filled(reading: System, system: System) -> Iterator[None]:
    """The values of the sharded `system` in its stand-in `reading`, for the block. All ranks must take part.

    A block inside such a block changes nothing.
    """
    if not all(parameter.is_meta for parameter in reading.parameters()):
        yield
        return
    state = {name: full_tensor(value) for name, value in system.state_dict().items()}
    reading.load_state_dict(state, assign=True)
    for name, buffer in system.named_buffers():
        if name not in state:  # no state of a checkpoint, but converted with the rest
            prefix, _, key = name.rpartition(".")
            reading.get_submodule(prefix).register_buffer(key, buffer, persistent=False)
    try:
        yield
    finally:
        reading.load_state_dict({name: value.to("meta") for name, value in state.items()}, assign=True)


def _empty(parameter: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
