"""This process among those that were started together, as `torchrun`, Open MPI or SLURM say. Torch-free."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Mapping
from typing import NamedTuple

from sslkit.errors import SpecError

VARIABLES = re.compile(
    r"(LOCAL_|GROUP_|ROLE_)?(RANK|WORLD_SIZE)|ROLE_NAME|MASTER_(ADDR|PORT)|TORCHELASTIC_.*|OMPI_COMM_WORLD_.*"
    r"|SLURM_(PROCID|LOCALID|NTASKS|NPROCS)|SLURM_STEP_.*"
)
"""Environment variables that say so; a program of one process must not see them."""
PORTS = range(20000, 30000)
"""Where ranks meet that no MASTER_PORT was set for: below the ports that Linux gives out by itself."""


class Ranks(NamedTuple):
    """The place of a process, from 0, among `world`."""

    rank: int = 0
    world: int = 1
    local: int = 0
    """Place among those of its machine."""


def ranks(environ: Mapping[str, str] = os.environ) -> Ranks:
    """The place of this process; alone where nothing says otherwise. WORLD_SIZE=1 keeps it alone.

    SLURM's is that of a step, which `srun` starts: the script of a batch job is one process, however many tasks it has.

    Raises:
        SpecError: a variable is no whole number.
    """
    if "WORLD_SIZE" in environ:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    elif _by_mpi(environ):
        names = ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK")
    elif _by_slurm(environ):
        names = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")
    else:
        return Ranks()
    rank, world, local = names
    if _integer(environ, world) <= 1:  # a cluster may set RANK for other ends
        return Ranks()
    return Ranks(_integer(environ, rank), _integer(environ, world), _integer(environ, local, "0"))


def meeting(environ: Mapping[str, str] = os.environ) -> tuple[str, int] | None:
    """Host and port of the first rank; None where `torchrun` arranges it.

    Raises:
        SpecError: nothing says where the ranks of several machines meet.
    """
    if "WORLD_SIZE" in environ:
        return None
    host = environ.get("MASTER_ADDR") or (_mpi_host(environ) if _by_mpi(environ) else _slurm_host(environ))
    if host is None:
        raise SpecError(
            "environment: nothing says where the ranks of several machines meet: set MASTER_ADDR to the host of the "
            "first, and MASTER_PORT"
        )
    return host, _integer(environ, "MASTER_PORT", str(_port(environ)))


def _by_mpi(environ: Mapping[str, str]) -> bool:
    return "OMPI_COMM_WORLD_SIZE" in environ  # asked first: `mpirun` starts its daemons by `srun`


def _by_slurm(environ: Mapping[str, str]) -> bool:
    return "SLURM_STEP_NUM_TASKS" in environ and "SLURM_PROCID" in environ


def _integer(environ: Mapping[str, str], name: str, default: str = "") -> int:
    """Raises SpecError where the variable `name` is no whole number."""
    text = environ.get(name, default)
    try:
        return int(text)
    except ValueError:
        raise SpecError(f"environment: {name} must be a whole number, found {text!r}") from None


def _mpi_host(environ: Mapping[str, str]) -> str | None:
    everyone = environ.get("OMPI_COMM_WORLD_LOCAL_SIZE") == environ["OMPI_COMM_WORLD_SIZE"]
    return "127.0.0.1" if everyone else None


def _slurm_host(environ: Mapping[str, str]) -> str | None:
    """The first of `gpu[03-04,7],login1`, which has the first task."""
    if environ.get("SLURM_STEP_NUM_NODES", environ.get("SLURM_NNODES")) == "1":
        return "127.0.0.1"
    nodes = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST") or ""
    first = re.match(r"([^\[,]+)(?:\[(\d+)[^\]]*\])?([^\[,]*)", nodes)
    return None if first is None else "".join(part or "" for part in first.groups())


def _port(environ: Mapping[str, str]) -> int:
    """Of the job: another one on the machine has most likely another."""
    names = ("SLURM_JOB_ID", "SLURM_STEP_ID", "PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid")
    job = " ".join(environ.get(name, "") for name in names)
    return PORTS[zlib.crc32(job.encode()) % len(PORTS)]
