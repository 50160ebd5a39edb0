"""Sharded tensors (DTensor): local values, placement and gathering."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer


def sharded(value: object) -> DTensor | None:
    """`value` where it is a tensor that ranks share; None where it is anything else."""
    return value if isinstance(value, DTensor) else None


def local(tensor: Tensor) -> Tensor:
    """The values on this rank, sharing memory with `tensor`; without autograd."""
    return in_place(tensor.detach())


def in_place(tensor: Tensor) -> Tensor:
    """What `local` gives, at less cost, for a block without autograd."""
    shards = sharded(tensor)
    return tensor if shards is None else shards.to_local()


def like(values: Tensor, tensor: Tensor) -> Tensor:
    """`values` (as many as `local(tensor)` has) placed as `tensor` is, for its `.grad`."""
    values, shards = values.view(local(tensor).shape), sharded(tensor)
    if shards is None:
        return values
    return DTensor.from_local(
        values,
        shards.device_mesh,
        shards.placements,
        run_check=False,
        shape=shards.shape,
        stride=shards.stride(),
    )


def full_tensor(tensor: Tensor) -> Tensor:
    """All values, on every rank. All ranks must take part where `tensor` is sharded."""
    values = tensor.detach()
    shards = sharded(values)
    return values if shards is None else shards.full_tensor()


def gathered(state: object, keep: bool) -> object:
    """`state` with its shards joined, one tensor after the other, on the CPU; where not to `keep`, without them."""
    shards = sharded(state)
    if shards is not None:
        values = full_tensor(shards)
        return values.cpu() if keep else None
    if isinstance(state, dict):
        return {key: gathered(value, keep) for key, value in state.items()}
    return state


def placed(values: object, tensor: Tensor) -> object:
    """Whole `values`, the same on every rank, cut and laid out as `tensor` is; unchanged where their shapes differ."""
    shards = sharded(tensor)
    if not isinstance(values, Tensor) or values.shape != tensor.shape:
        return values
    if shards is None:
        return laid_out(values, tensor)
    return distribute_tensor(
        values.to(tensor.device), shards.device_mesh, shards.placements, src_data_rank=None
    )


def laid_out(values: Tensor, tensor: Tensor) -> Tensor:
    """`values` in the order of memory of `tensor`, whose shape they have.

    Fused steps walk through the memory of a parameter and of its moments side by side, whatever the strides of either
    (torch 2.14.1): moments of a checkpoint would meet other weights of a network that was turned to channels last.
    """
    if values.stride() == tensor.stride():
        return values
    return torch.empty_strided(values.shape, tensor.stride(), dtype=values.dtype, device=values.device).copy_(
        values
    )


def placed_as(state: Mapping[str, object], reference: Mapping[str, Tensor]) -> dict[str, object]:
    """A module's whole `state`, cut as its `reference` is."""
    return {key: placed(value, reference[key]) if key in reference else value for key, value in state.items()}


KERNELS = ("fused", "foreach")
"""What torch's optimizers keep beside hyper-parameters: how this process computes, not what."""


def optimizer_placed(state: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """An optimizer's whole `state`, cut as its parameters are, for the kernels that it was built with."""
    parameters = dict(enumerate(p for group in optimizer.param_groups for p in group["params"]))
    by_number = {
        number: {key: placed(value, parameters[number]) for key, value in values.items()}
        for number, values in state["state"].items()
        if number in parameters
    }
    groups = [
        {**group, **{key: ours[key] for key in KERNELS if key in ours}}
        for group, ours in zip(state["param_groups"], optimizer.param_groups, strict=True)
    ]
    return {**state, "state": by_number, "param_groups": groups}
