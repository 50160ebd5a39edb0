"""Run folders with made evaluations, as training and `sslkit evaluate` leave them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from sslkit.runs.evaluations import folder_of, packed
from sslkit.runs.lock import LOCK

IMAGES = 400


def run_folder(path: Path, seed: int = 0, **fields: Any) -> Path:
    """A folder with the lock of a run; `fields` are those of its spec."""
    path.mkdir(parents=True)
    spec = {"name": path.name, "seed": seed, "out": str(path), "objective": {"kind": "mae", "ratio": 0.75}}
    lock = {"spec": {**spec, **fields}, "resolved": {}, "packages": {}}
    (path / LOCK).write_text(yaml.safe_dump(lock), encoding="utf-8")
    return path


def evaluated(
    run_dir: Path, label: str, correct: NDArray[np.bool_] | None, step: int = 10, **changes: Any
) -> Path:
    """Write an evaluation of `run_dir` that was right on the images of `correct`; returns the run."""
    folder = folder_of(run_dir, step)
    folder.mkdir(parents=True, exist_ok=True)
    metrics: Mapping[str, Any] = {}
    if correct is not None:
        labels = np.arange(len(correct)) % 10
        (folder / f"{label}.npz").write_bytes(packed(labels, np.where(correct, labels, (labels + 1) % 10)))
        metrics = {"accuracy": float(correct.mean())}
    record = {
        "label": label,
        "step": step,
        "protocol": "knn@1",
        "settings": {"kind": "knn", "name": label, "every": "end", "k": 20, "train": None, "test": None},
        "metrics": metrics,
        "intervals": {},
        "tables": {},
        "figures": {},
        "data": {split: {"fingerprint": f"{label}-{split}", "images": IMAGES} for split in ("train", "test")},
        "readout": {"net": "student", "crop": 1.0},
        "view": {"size": 8, "mean": [0.5], "std": [0.5]},
        "weights_sha256": "0" * 64,
        "checkpoint": None,
        "unreadable": [],
    }
    (folder / f"{label}.json").write_text(json.dumps({**record, **changes}), encoding="utf-8")
    return run_dir


def right(share: float, seed: int = 0, count: int = IMAGES) -> NDArray[np.bool_]:
    """Right on a random `share` of the images."""
    return np.random.default_rng(seed).permutation(count) < round(share * count)


def worsened(correct: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """Wrong on `by` further images."""
    worse = correct.copy()
    worse[np.flatnonzero(correct)[:by]] = False
    return worse
