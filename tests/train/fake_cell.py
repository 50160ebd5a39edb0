"""Stands in for `python -m sslkit run SPEC`: leaves a finished run, or goes wrong as its seed says. Quick to start.

Seed 13 fails with a message, 14 is killed, 15 ends without a word, 16 is stopped from outside, 17 waits for SIGTERM
and saves. Any other leaves a run whose metrics follow from its spec.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

COMMAND = (sys.executable, __file__)
RANKS = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK", "TORCHELASTIC_RUN_ID")


def metrics(spec: Mapping[str, Any]) -> dict[str, float]:
    """What a run of `spec` comes to."""
    return {"step": 8, "loss": 1.0 / (1 + spec["seed"]) + spec["optimizer"]["lr"], "lr": 0.0}


def leave(spec: Mapping[str, Any], finished: bool = True) -> None:
    """A run folder."""
    folder = Path(spec["out"])
    folder.mkdir(parents=True, exist_ok=True)
    one = {"net": "student", "guide": False, "for": ["mae"], "tokens_per_step": 96, "stages": []}
    taught = {**one, "net": "teacher"}
    plan = {"terms": {"mae": 1.0}, "cost": 1.0}
    resolved = {"parameters": {"student": 1000}, "passes": [one, taught], "plan": plan}
    lock = {"spec": dict(spec), "resolved": resolved, "packages": {}}
    (folder / "spec.lock.yaml").write_text(yaml.safe_dump(lock))
    summary = {"finished": finished, "step": 8, "seconds": 2.0 + spec["seed"], "metrics": metrics(spec)}
    (folder / "summary.json").write_text(json.dumps(summary))
    checkpoint = folder / "checkpoints" / "step-00000004"
    checkpoint.mkdir(parents=True, exist_ok=True)
    (checkpoint / "meta.json").write_text("{}")
    (folder / "environment.json").write_text(json.dumps({name: os.environ.get(name) for name in RANKS}))
    with (folder / "made").open("a") as file:
        file.write("once\n")


def wait(spec: Mapping[str, Any]) -> None:
    """Until SIGTERM; then save and leave, as a run does."""

    def save(number: int, frame: object) -> None:
        leave(spec, finished=False)
        sys.exit(0)

    signal.signal(signal.SIGTERM, save)
    (Path(spec["out"]).parent / "waits").touch()
    time.sleep(60)


def main(path: str) -> None:
    spec = yaml.safe_load(Path(path).read_text())
    print(spec["name"], "began")
    if spec["seed"] == 13:
        print("error: no luck", file=sys.stderr)
        sys.exit(2)
    if spec["seed"] == 14:
        os.kill(os.getpid(), signal.SIGKILL)
    if spec["seed"] == 15:
        sys.exit(7)
    if spec["seed"] == 17:
        wait(spec)
    leave(spec, finished=spec["seed"] != 16)


if __name__ == "__main__":
    main(sys.argv[1])
