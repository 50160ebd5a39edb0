"""A task of `srun -n 2 sslkit run`: no WORLD_SIZE, SLURM's variables instead."""

from __future__ import annotations

import os
from pathlib import Path

from sslkit.cli.main import main as sslkit
from sslkit.core.ranks import VARIABLES


def main(port: str, out: str, *words: str) -> None:
    """Run `sslkit run` with `words`, in which `{rank}` stands for the rank; leave the exit code beside `out`."""
    rank = os.environ["RANK"]
    for name in [name for name in os.environ if VARIABLES.fullmatch(name)]:
        del os.environ[name]
    os.environ |= {
        "SLURM_JOB_ID": "7",
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_PROCID": rank,
        "SLURM_LOCALID": rank,
        "MASTER_PORT": port,
    }
    code = sslkit(["run", *(word.format(rank=rank) for word in words), "--out", out.format(rank=rank)])
    Path(f"{out.format(rank='')}-{rank}").write_text(str(code), encoding="utf-8")
