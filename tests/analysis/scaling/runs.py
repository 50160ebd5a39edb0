"""Run folders as trainers leave them, and tables, without training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

PASS = {"net": "student", "guide": False, "tokens_per_step": 96, "stages": []}


def write_run(
    folder: Path, *, size: int = 1000, step: int = 50, batch: int = 32, passes: Any = None, **summary: Any
) -> Path:
    """A run of `size` parameters in the student, that came to `step`."""
    folder.mkdir(parents=True, exist_ok=True)
    resolved = {
        "parameters": {"student": size, "objectives.mae": 77},
        "passes": [PASS] if passes is None else passes,
    }
    lock = {"spec": {"batch_size": batch}, "resolved": resolved, "packages": {}}
    (folder / "spec.lock.yaml").write_text(yaml.safe_dump(lock), encoding="utf-8")
    said = {"step": step, "finished": True, "seconds": 12.5, "metrics": {"loss": 1.5}, **summary}
    (folder / "summary.json").write_text(json.dumps(said), encoding="utf-8")
    return folder


def write_csv(path: Path, **columns: Any) -> Path:
    """A table with `columns`."""
    lines = [",".join(columns)]
    lines += [",".join(str(value) for value in row) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
