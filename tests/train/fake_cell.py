"""Stands in for `python -m sslkit run SPEC`: leaves a finished run, or goes wrong as its seed says. Torch-free.

Seed 13 fails with a message, 14 is killed, 15 ends without a word, 16 is stopped from outside, 17 waits for SIGTERM
and saves. Any other leaves a run whose metrics follow from its spec.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import yaml

from sslkit.spec.load import load
from sslkit.spec.run import RunSpec

COMMAND = (sys.executable, __file__)
RANKS = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK", "TORCHELASTIC_RUN_ID")


def metrics(spec: RunSpec) -> dict[str, float]:
    """What a run of `spec` comes to."""
    return {"step": 8, "loss": 1.0 / (1 + spec.seed) + spec.optimizer.lr, "lr": 0.0}


def leave(spec: RunSpec, finished: bool = True) -> None:
    """A run folder."""
    folder = spec.run_dir
    folder.mkdir(parents=True, exist_ok=True)
    one = {"net": "student", "guide": False, "for": ["mae"], "tokens_per_step": 96, "stages": []}
    taught = {**one, "net": "teacher"}
    plan = {"terms": {"mae": 1.0}, "cost": 1.0}
    resolved = {"parameters": {"student": 1000}, "passes": [one, taught], "plan": plan}
    lock = {"spec": spec.model_dump(mode="json"), "resolved": resolved, "packages": {}}
    (folder / "spec.lock.yaml").write_text(yaml.safe_dump(lock))
    summary = {"finished": finished, "step": 8, "seconds": 2.0 + spec.seed, "metrics": metrics(spec)}
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "environment.json").write_text(json.dumps({name: os.environ.get(name) for name in RANKS}))
    with (folder / "made").open("a") as file:
        file.write("once\n")


def wait(spec: RunSpec) -> None:
    """Until SIGTERM; then save and leave, as a run does."""

    def save(number: int, frame: object) -> None:
        leave(spec, finished=False)
        sys.exit(0)

    signal.signal(signal.SIGTERM, save)
    (spec.run_dir.parent / "waits").touch()
    time.sleep(60)


def main(path: str) -> None:
    spec = load(Path(path))
    print(f"{spec.name} began")
    if spec.seed == 13:
        print("error: no luck", file=sys.stderr)
        sys.exit(2)
    if spec.seed == 14:
        os.kill(os.getpid(), signal.SIGKILL)
    if spec.seed == 15:
        sys.exit(7)
    if spec.seed == 17:
        wait(spec)
    leave(spec, finished=spec.seed != 16)


if __name__ == "__main__":
    main(sys.argv[1])
