"""One process, or several under `torchrun`: the only place that knows ranks."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import final

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sslkit.core.system import System
from sslkit.errors import SpecError

PATIENCE = timedelta(hours=2)  # the others wait while the first rank evaluates


class Parallel(ABC):
    """How ranks share a step."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this rank writes files and prints."""
        return self.rank == 0

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

    @abstractmethod
    def gram(self, rows: Tensor) -> Tensor:
        """Products of reduced rows `[K, P]` over whole parameters, `[K, K]` float64, the same on every rank."""

    @abstractmethod
    def mean(self, values: Tensor) -> Tensor:
        """Mean over ranks."""

    @abstractmethod
    def total(self, values: Tensor) -> Tensor:
        """Sum over ranks."""

    @abstractmethod
    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all ranks, in rank order."""

    @abstractmethod
    def any(self, flag: bool) -> bool:
        """Whether `flag` is true on some rank."""

    @abstractmethod
    def wait(self) -> None:
        """Until every rank is here."""

    @abstractmethod
    def close(self) -> None:
        """Leave the group."""


@final
class Single(Parallel):
    """One process."""

    def __init__(self, device: torch.device) -> None:
        self.rank, self.world, self.device = 0, 1, device

    def wrap(self, system: System) -> nn.Module:
        """The system itself."""
        return system

    def accumulating(self, module: nn.Module) -> AbstractContextManager[None]:
        """Nothing to hold back."""
        return contextlib.nullcontext()

    def separate(self, module: nn.Module) -> AbstractContextManager[None]:
        """Nothing to hold back."""
        return contextlib.nullcontext()

    def reduce(self, row: Tensor) -> Tensor:
        """The row."""
        return row

    def gram(self, rows: Tensor) -> Tensor:
        """Products of the rows."""
        return (rows @ rows.T).double()

    def mean(self, values: Tensor) -> Tensor:
        """The values."""
        return values

    def total(self, values: Tensor) -> Tensor:
        """The values."""
        return values

    def gather(self, rows: Tensor) -> Tensor:
        """The rows."""
        return rows

    def any(self, flag: bool) -> bool:
        """The flag."""
        return flag

    def wait(self) -> None:
        """At once."""

    def close(self) -> None:
        """Nothing to leave."""


@final
class DataParallel(Parallel):
    """Ranks under `torchrun`, one replica each (torch's DistributedDataParallel)."""

    def __init__(self, device: torch.device) -> None:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
        self.rank, self.world, self.device = dist.get_rank(), dist.get_world_size(), device

    def wrap(self, system: System) -> nn.Module:
        """The replica. Buffers are not broadcast: they are functions of gathered rows and equal everywhere."""
        if not any(p.requires_grad for p in system.parameters()):
            return system
        ids = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(system, device_ids=ids, broadcast_buffers=False)

    @contextlib.contextmanager
    def _quiet(self, module: DistributedDataParallel) -> Iterator[None]:
        with module.no_sync():
            yield

    def accumulating(self, module: nn.Module) -> AbstractContextManager[None]:
        """No gradient exchange."""
        assert isinstance(module, DistributedDataParallel), "`wrap` made it"
        return self._quiet(module)

    def separate(self, module: nn.Module) -> AbstractContextManager[None]:
        """No gradient exchange."""
        return self.accumulating(module)

    def reduce(self, row: Tensor) -> Tensor:
        """Mean over ranks."""
        return self.mean(row)

    def gram(self, rows: Tensor) -> Tensor:
        """Products of the rows, which are whole on every rank."""
        return (rows @ rows.T).double()

    def mean(self, values: Tensor) -> Tensor:
        """Mean over ranks."""
        return self.total(values) / self.world

    def total(self, values: Tensor) -> Tensor:
        """Sum over ranks."""
        values = values.clone()
        dist.all_reduce(values)
        return values

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all ranks, in rank order."""
        parts = [torch.empty_like(rows) for _ in range(self.world)]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true on some rank."""
        return bool(self.total(torch.tensor(float(flag), device=self.device)) > 0)

    def wait(self) -> None:
        """Until every rank is here."""
        dist.barrier()

    def close(self) -> None:
        """Leave the group."""
        dist.destroy_process_group()


def choose_device(wanted: str) -> torch.device:
    """The device of this rank: `auto` takes CUDA where there is a GPU.

    Raises:
        SpecError: CUDA is asked for and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise SpecError("device: cuda is asked for but torch sees no GPU; use `device=cpu` or `device=auto`")
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def start(wanted: str) -> Parallel:
    """This process's place: `torchrun` sets WORLD_SIZE."""
    device = choose_device(wanted)
    return DataParallel(device) if int(os.environ.get("WORLD_SIZE", "1")) > 1 else Single(device)
