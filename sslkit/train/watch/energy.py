"""Energy of training, from the counters of GPUs (NVML) and CPUs (RAPL)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, final

import torch
from torch import Tensor

from sslkit.core.ranks import ranks

POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows the energy counters of CPUs (RAPL), Intel's and AMD's."""


class Counter(NamedTuple):
    """A running count of joules."""

    read: Callable[[], float]
    wraps: float
    """Where it begins again at 0."""
    of: str
    """What it is the energy of: `GPU`, `CPU` or `memory`."""


class Energy(NamedTuple):
    """The energy of a run."""

    joules: float
    of: str
    """For people: `4 GPUs and 2 CPUs`."""


@final
class Meter:
    """Adds up the increments of its counters."""

    def __init__(self, counters: Sequence[Counter], joules: float = 0.0) -> None:
        """`joules`: of earlier parts of the run."""
        self._counters = list(counters)
        self.joules = joules
        self.skip()

    def values(self, device: torch.device) -> Tensor:
        """Joules, and how many counters there are of GPUs, CPUs and memory; `[4]` float64, to be summed over ranks."""
        kinds = [counter.of for counter in self._counters]
        counts = [kinds.count(of) for of in ("GPU", "CPU", "memory")]
        here = device if device.type == "cuda" else "cpu"  # Apple's GPUs have no float64
        return torch.tensor([self.joules, *counts], dtype=torch.float64, device=here)

    def poll(self) -> None:
        """Add what was used since the last reading. At least every few minutes: a CPU's counter wraps after 65 kJ."""
        before = self._last
        self.skip()
        for counter, old, new in zip(
            self._counters, before, self._last, strict=False
        ):  # none where one is gone
            self.joules += (new - old) % counter.wraps if new < old else new - old

    def skip(self) -> None:
        """Leave out what was used since the last reading. A counter that cannot be read any more ends all."""
        try:
            self._last = [counter.read() for counter in self._counters]
        except Exception:
            self._counters, self._last = [], []


def resumed_meter(device: torch.device, joules: float | None, *, first: bool) -> Meter:
    """A meter that goes on from the `joules` of earlier parts of a run, which the `first` rank keeps.

    None: they are not known, so the whole stays unknown.
    """
    if joules is None:
        return Meter(())
    return Meter(counters(device), joules if first else 0.0)


def counters(device: torch.device, powercap: Path = POWERCAP) -> list[Counter]:
    """Those of `device`, and on the first rank of a machine those of its CPUs; none where none can be read."""
    readable = list(_gpu(device)) if device.type == "cuda" else []
    if ranks().local == 0:
        readable += _cpus(powercap)
    return readable


def _gpu(device: torch.device) -> Iterator[Counter]:
    """By NVML, through the package `nvidia-ml-py`."""
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception:
        return
    yield Counter(lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3, math.inf, "GPU")


def _cpus(powercap: Path) -> Iterator[Counter]:
    """Of each socket and the memory beside it. Cores are part of a socket, and `psys` has all in one."""
    for folder in sorted(powercap.glob("intel-rapl:*")):
        try:
            name = (folder / "name").read_text().strip()
            wraps = int((folder / "max_energy_range_uj").read_text()) / 1e6
            _micro(folder)
        except (OSError, ValueError):  # since 2020 only root may read them
            continue
        if name.startswith("package") or name == "dram":
            yield Counter(partial(_micro, folder), wraps, "memory" if name == "dram" else "CPU")


def _micro(folder: Path) -> float:
    return int((folder / "energy_uj").read_text()) / 1e6


def energy_of(values: Sequence[float]) -> Energy | None:
    """What `values` of `Meter`, summed over ranks, say."""
    joules, *counts = values
    if not any(counts):
        return None
    gpus, cpus, memory = map(int, counts)
    parts = [f"{count} {name}{'s' * (count > 1)}" for count, name in ((gpus, "GPU"), (cpus, "CPU")) if count]
    return Energy(joules, " and ".join([*parts, *["memory"] * bool(memory)]))
