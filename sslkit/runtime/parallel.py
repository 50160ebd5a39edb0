"""Parallelism: one process, DistributedDataParallel or FSDP2."""

from __future__ import annotations

import contextlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, Literal, final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel

from sslkit.core.ranks import meeting, ranks
from sslkit.core.system import System
from sslkit.errors import SpecError
from sslkit.functional import gradient_weights
from sslkit.runtime import fsdp
from sslkit.runtime.dtensor import local, sharded
from sslkit.runtime.mps import has_float64, mps_device, narrowed
from sslkit.runtime.torch_warnings import expect_warnings

BUFFERS = (
    "forward_sync_buffers"
    if "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
    else "broadcast_buffers"
)
"""What makes replicas copy the buffers of the first rank before each forward; newer torch warns of the old name."""
PATIENCE = timedelta(hours=2)  # the others wait while the first rank evaluates


class Parallel(ABC):
    """How ranks share a step."""

    sharded: bool = False
    """Whether a rank holds shards of parameters, which hooks gather where they are read."""

    def __init__(self, device: torch.device, rank: int = 0, world: int = 1) -> None:
        """Rank `rank` of the `world` that `start` joined, or the only process."""
        self.device, self.rank, self.world = device, rank, world

    @property
    def first(self) -> bool:
        """Whether this rank writes files and prints."""
        return self.rank == 0

    @property
    def fused(self) -> bool:
        """Whether updates may be one kernel a tensor: not where shards on a CPU are to equal whole tensors."""
        return self.world == 1 or self.device.type != "cpu"

    def place(self, system: System) -> System:
        """Put the parameters where this rank holds them, in place, before anything refers to them.

        Returns:
            The system to read between steps, under `full_weights`: this one, or a stand-in for it.
        """
        if not has_float64(self.device):
            narrowed(system)
        return system.to(self.device)

    def full_weights(self, system: System, reading: System) -> AbstractContextManager[None]:
        """Around reading `reading`, what `place` returned for `system`: its values are whole on every rank."""
        return contextlib.nullcontext()

    @abstractmethod
    def wrap(self, system: System) -> nn.Module:
        """The module to call in a training step."""

    @abstractmethod
    def accumulating(self, module: nn.Module) -> AbstractContextManager[None]:
        """Around every micro-batch but the last: gradients stay local."""

    @abstractmethod
    def separate(self, module: nn.Module) -> AbstractContextManager[None]:
        """Around a micro-batch whose gradients are read one loss at a time; `reduce` then makes them one."""

    @abstractmethod
    def reduce(self, row: Tensor) -> Tensor:
        """What a flat vector of gradients `[P]`, or several `[K, P]`, made under `separate` is as a mean over ranks.

        P counts what this rank holds of the parameters (`shards.local`): all of them, or its shards.
        """

    def gram(self, rows: Tensor) -> Tensor:
        """Products of reduced rows `[K, P]` over whole parameters, `[K, K]` float64, the same on every rank."""
        return gradient_weights.products(rows)

    def norms(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """The norm of each parameter or gradient as a whole."""
        return torch._foreach_norm(list(tensors))

    def mean(self, values: Tensor) -> Tensor:
        """Mean over ranks."""
        return values if self.world == 1 else self.total(values) / self.world

    def total(self, values: Tensor) -> Tensor:
        """Sum over ranks."""
        if self.world == 1:
            return values
        values = values.clone()
        dist.all_reduce(values)
        return values

    def spread(self, values: Tensor) -> Tensor:
        """The largest over ranks less the smallest, of each of `values`."""
        if self.world == 1:
            return torch.zeros_like(values)
        both = torch.stack([values, -values])
        dist.all_reduce(both, dist.ReduceOp.MAX)
        return both.sum(0)

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all ranks, in rank order."""
        if self.world == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.world)]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true on some rank."""
        return bool(self.total(torch.tensor(float(flag), device=self.device)) > 0) if self.world > 1 else flag

    def wait(self) -> None:
        """Until every rank is here."""
        if self.world > 1:
            # torch takes the current device by itself, and warns of it
            dist.barrier(device_ids=[self.device.index] if self.device.type == "cuda" else None)

    def close(self) -> None:
        """Leave the group."""
        if self.world > 1:
            dist.destroy_process_group()


@final
class Single(Parallel):
    """One process."""

    def wrap(self, system: System) -> nn.Module:
        return system

    def accumulating(self, module: nn.Module) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def separate(self, module: nn.Module) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def reduce(self, row: Tensor) -> Tensor:
        return row


def _exact_norms(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """Of what this rank holds, in float64: squares of shards, added up and rounded, then are those of the whole."""
    return torch._foreach_norm([local(x) for x in tensors], dtype=torch.float64)


@final
class DataParallel(Parallel):
    """Ranks, one replica each (torch's DistributedDataParallel)."""

    def norms(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """As shards have them, to the last bit."""
        return [norm.to(x.dtype) for norm, x in zip(_exact_norms(tensors), tensors, strict=True)]

    def wrap(self, system: System) -> nn.Module:
        """The replica. Buffers are not broadcast: `statistics` makes those equal that ranks would have apart."""
        if not any(p.requires_grad for p in system.parameters()):
            return system
        ids = [self.device] if self.device.type == "cuda" else None
        unsynced: dict[str, Any] = {BUFFERS: False}
        return DistributedDataParallel(system, device_ids=ids, **unsynced)

    @contextlib.contextmanager
    def _quiet(self, module: DistributedDataParallel) -> Iterator[None]:
        with module.no_sync():
            yield

    def accumulating(self, module: nn.Module) -> AbstractContextManager[None]:
        assert isinstance(module, DistributedDataParallel), "`wrap` made it"
        return self._quiet(module)

    def separate(self, module: nn.Module) -> AbstractContextManager[None]:
        return self.accumulating(module)

    def reduce(self, row: Tensor) -> Tensor:
        return self.mean(row)


@final
class Sharded(Parallel):
    """Ranks, each with a shard of every parameter, gradient and optimizer state (torch's FSDP2)."""

    sharded = True

    def __init__(self, device: torch.device, rank: int, world: int) -> None:
        super().__init__(device, rank, world)
        self._mesh = init_device_mesh(device.type, (world,))
        self._exchanging = True

    def place(self, system: System) -> System:
        """Shard the parameters; the stand-in has none between two readings."""
        reading = fsdp.stand_in(system.to(self.device))
        for parameter in fsdp.shard(system, self._mesh):
            parameter.register_post_accumulate_grad_hook(self._exchange)
        return reading

    def _exchange(self, parameter: Tensor) -> None:
        """What FSDP2 does after a backward, for a parameter that every rank keeps."""
        if self._exchanging and parameter.grad is not None:
            parameter.grad = self.mean(parameter.grad)

    def full_weights(self, system: System, reading: System) -> AbstractContextManager[None]:
        return fsdp.filled(reading, system)

    def wrap(self, system: System) -> nn.Module:
        """The system, whose hooks gather and free what each of its parts needs."""
        return system

    @contextlib.contextmanager
    def accumulating(self, module: nn.Module) -> Iterator[None]:
        """No gradient exchange: each rank adds up whole gradients."""
        assert isinstance(module, FSDPModule), "`place` made it"
        self._exchanging = False
        module.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            self._exchanging = True
            module.set_requires_gradient_sync(True)

    def separate(self, module: nn.Module) -> AbstractContextManager[None]:
        """Nothing to hold back: a gradient reaches a parameter's shard by the exchange."""
        return contextlib.nullcontext()

    def reduce(self, row: Tensor) -> Tensor:
        return row

    def gram(self, rows: Tensor) -> Tensor:
        """Products of the shards, summed over ranks."""
        return self.total(gradient_weights.products(rows))

    def norms(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """From those of the shards, in one exchange."""
        local_norms = torch.stack(list(_exact_norms(tensors)))
        totals = self.total(local_norms.square()).sqrt()
        return [
            (kept if sharded(x) is None else total).to(x.dtype)
            for total, kept, x in zip(totals, local_norms, tensors, strict=True)
        ]


def choose_device(wanted: str) -> torch.device:
    """The device of this rank: `auto` takes CUDA where there is a GPU.

    Raises:
        SpecError: CUDA is asked for and there is none, or `mps`, which one process may have.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise SpecError("device: cuda is asked for but torch sees no GPU; use `device=cpu` or `device=auto`")
    if wanted == "mps":
        return mps_device()
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device(
        "cuda", ranks().local % torch.cuda.device_count()
    )  # SLURM may show each rank its own alone
    torch.cuda.set_device(device)
    return device


def start(wanted: str, kind: Literal["ddp", "fsdp"] = "ddp") -> Parallel:
    """This process's place among those of `torchrun`, `srun` or `mpirun`. One process shares nothing, whatever `kind`.

    Raises:
        SpecError: there is no such device, or nothing says where the ranks meet.
    """
    expect_warnings()
    device, place = choose_device(wanted), ranks()
    if place.world <= 1:
        return Single(device)
    nccl = device.type == "cuda" and dist.is_nccl_available()  # which torch for Windows is not built with
    join("nccl" if nccl else "gloo", PATIENCE)
    return Sharded(device, *place[:2]) if kind == "fsdp" else DataParallel(device, *place[:2])


def join(backend: str, patience: timedelta) -> None:
    """Meet the other ranks, who wait for each other `patience` long."""
    place, where = ranks(), meeting()
    if where is None:
        dist.init_process_group(backend, timeout=patience)
        return
    method = "tcp://{}:{}".format(*where)
    dist.init_process_group(
        backend, init_method=method, rank=place.rank, world_size=place.world, timeout=patience
    )
