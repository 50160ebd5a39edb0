"""A spec in which every section is set."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

_VALID: dict[str, Any] = {
    "name": "valid",
    "seed": 3,
    "out": "runs/valid",
    "device": "cpu",
    "data": {"kind": "digits", "test_share": 0.25},
    "workers": 0,
    "views": {
        "global": {
            "size": 16,
            "crops": 2,
            "augment": [{"kind": "random_resized_crop", "scale": [0.4, 1.0]}, {"kind": "flip"}],
            "normalize": {"mean": [0.5], "std": [0.25]},
        },
        "local": {"size": 8},
    },
    "backbone": {"kind": "vit", "name": "vit_tiny_patch16_224", "patch": 4, "width": 64, "heads": 4},
    "nets": {"teacher": {"momentum": {"start": 0.99, "end": 1.0}, "update": "after_step"}},
    "objectives": {
        "main": {
            "kind": "mae",
            "masker": {"kind": "random", "ratio": 0.5},
            "target": {"kind": "pixel", "loss": "l1"},
            "decoder": {"depth": 1, "width": 32, "heads": 4},
        },
        "small": {"kind": "mae", "view": "local", "masker": {"kind": "random", "ratio": 0.25}},
    },
    "balance": {"kind": "fixed", "weights": {"main": 1.0, "small": 0.5}},
    "optimizer": {
        "name": "adamw",
        "lr": 1e-3,
        "scale": "absolute",
        "betas": [0.9, 0.95],
        "weight_decay": 0.05,
    },
    "schedule": {"warmup_epochs": 2.5, "final": 1e-6},
    "precision": "float32",
    "compile": {"enabled": False},
    "batch_size": 64,
    "micro_batch_size": 32,
    "epochs": 4,
    "readout": {"net": "teacher", "view": "global", "layer": -1, "pool": "mean"},
    "evaluate": [{"kind": "knn", "every": "2 epochs", "k": 10}, {"kind": "knn", "name": "near", "k": 1}],
    "checkpoint": {"every": "1 epochs", "keep": 3, "best": "eval/knn/accuracy"},
    "log": {"every": 5},
}


def valid(**changes: Any) -> dict[str, Any]:
    """A fresh copy with `changes` on top."""
    return {**deepcopy(_VALID), **changes}


def small(**changes: Any) -> dict[str, Any]:
    """The shortest valid spec, with `changes` on top."""
    return {
        "data": {"kind": "digits"},
        "views": {"global": {"size": 16}},
        "backbone": {"kind": "vit", "name": "vit_tiny_patch16_224", "patch": 4},
        "objective": {"kind": "mae"},
        "batch_size": 8,
        "epochs": 2,
        **changes,
    }
