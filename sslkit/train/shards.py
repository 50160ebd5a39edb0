"""What this rank holds of a tensor: all of it, or its shard under FSDP2."""

from __future__ import annotations

from torch import Tensor
from torch.distributed.tensor import DTensor


def local(tensor: Tensor) -> Tensor:
    """The values on this rank, sharing memory with `tensor`; without autograd."""
    return tensor.detach().to_local() if isinstance(tensor, DTensor) else tensor.detach()


def like(values: Tensor, tensor: Tensor) -> Tensor:
    """`values` (as many as `local(tensor)` has) placed as `tensor` is, for its `.grad`."""
    values = values.view(local(tensor).shape)
    if not isinstance(tensor, DTensor):
        return values
    return DTensor.from_local(
        values,
        tensor.device_mesh,
        tensor.placements,
        run_check=False,
        shape=tensor.shape,
        stride=tensor.stride(),
    )


def whole(tensor: Tensor) -> Tensor:
    """All values, on every rank. A collective where `tensor` is sharded."""
    return tensor.detach().full_tensor() if isinstance(tensor, DTensor) else tensor.detach()
