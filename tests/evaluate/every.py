"""A tiny run whose evaluators are of every kind, on class folders of images that their color tells apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests import tiny

CLASSES, TRAIN, TEST = 5, 8, 4
"""Classes, and images of each in the two splits."""

KINDS: dict[str, dict[str, Any]] = {
    "knn": {"k": [3, 5]},
    "linear": {"learning_rates": [0.1, 1.0], "epochs": 3, "batch_size": 16},
    "logistic": {"strengths": [0.01, 1.0], "halvings": 1, "iterations": 20},
    "lowshot": {"shots": [1, 2], "shares": [1.0], "draws": 2},
    "probing": {"learning_rates": [0.1, 1.0], "epochs": 3},
    "retrieval": {"ks": [1, 3]},
    "robustness": {"corruptions": ["gaussian_noise", "contrast"], "severities": [1, 5], "k": 3},
    "geometry": {"neighbours": 4, "restarts": 1},
    "attention": {"max_images": 6, "shown": 1},
    "concept": {"concepts": ["even", "low"], "strengths": [1.0], "iterations": 20},
    "reconstruction": {},
    "finetune": {"epochs": 1, "warmup_epochs": 0, "batch_size": 16},
    "peft": {"rank": 2, "epochs": 1, "warmup_epochs": 0, "batch_size": 16},
}
"""Kind -> its settings. `dense` is not among them, for it needs masks: `tests/plugins/scenes` has it."""

OF_RUNS = {"reconstruction"}
"""Those that need the objectives of a run, so that no export can have them."""

VIEW = {**tiny.VIEW, "normalize": {"mean": [0.5] * 3, "std": [0.25] * 3}}


def folders(root: Path) -> dict[str, Any]:
    """Fields of a folder source with attributes, its images written below `root`."""
    generator = np.random.default_rng(0)
    colors = generator.integers(40, 216, (CLASSES, 3))
    lines = {"train": ["path,even,low"], "test": ["path,even,low"]}
    for split, count in (("train", TRAIN), ("test", TEST)):
        for c in range(CLASSES):
            folder = root / split / f"class{c}"
            folder.mkdir(parents=True)
            for i in range(count):
                noise = generator.integers(-40, 40, (8, 8, 3))
                pixels = (colors[c] + noise).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
                lines[split].append(f"class{c}/{i}.png,{c % 2},{int(c < 2)}")
    for split, rows in lines.items():
        (root / f"{split}.csv").write_text("\n".join(rows) + "\n")
    return {
        "kind": "folder",
        "root": str(root / "train"),
        "test": str(root / "test"),
        "attributes": str(root / "train.csv"),
        "test_attributes": str(root / "test.csv"),
    }


def evaluators(**common: Any) -> list[dict[str, Any]]:
    """All kinds, each with the fields `common`."""
    return [{"kind": kind, **settings, **common} for kind, settings in KINDS.items()]


def fields(data: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Four steps with a moving average beside the student, whose modules have other modes."""
    base = {
        "data": data,
        "views": {"global": VIEW},
        "nets": {"ema": {"momentum": 0.5}},
        "batch_size": 10,
        "steps": 4,
        "readout": {"batch_size": 16, "pool": "mean"},
    }
    return tiny.fields(**{**base, **changes})
