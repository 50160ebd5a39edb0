"""Runs of objectives without negatives, for two ranks against one process. All share a run: it starts once."""

from __future__ import annotations

from typing import Any

HEAD = {"hidden": 16, "out": 8}
EVERY = {
    "byol": {"kind": "byol", "projector": HEAD, "predictor": HEAD},
    "simsiam": {"kind": "simsiam", "projector": HEAD, "predictor": HEAD},
    "barlow": {"kind": "barlow_twins", "projector": HEAD},
    "vicreg": {"kind": "vicreg", "projector": HEAD},
    "swav": {"kind": "swav", "projector": HEAD, "prototypes": 6, "freeze_steps": 1},
    "lejepa": {"kind": "lejepa", "projector": HEAD, "directions": 8},
    "sigreg": {"kind": "sigreg", "directions": 8},
    "tico": {"kind": "tico", "projector": HEAD},
    "wmse": {"kind": "wmse", "projector": {"hidden": 16, "out": 4}, "size": 16},
    "nnclr": {"kind": "nnclr", "projector": HEAD, "predictor": HEAD, "support": 40},
    "msn": {
        "kind": "msn",
        "local": None,
        "prototypes": 6,
        "head": {"layers": 2, "hidden": 16, "bottleneck": 8},
        "masker": {"kind": "random", "ratio": 0.5},
    },
    "dense_cl": {"kind": "dense_cl", "projector": HEAD, "dense_projector": HEAD, "queue": 40},
    "capi": {
        "kind": "capi",
        "prototypes": 6,
        "masker": {"kind": "random", "ratio": 0.5},
        "predictor": {"depth": 1, "width": 16, "heads": 2},
    },
    "byol_crops": {"kind": "byol", "projector": HEAD, "predictor": HEAD, "predictor_per": "crop"},
    "dinov2": {
        "kind": "dinov2",
        "local": None,
        "prototypes": 6,
        "head": {"layers": 2, "hidden": 16, "bottleneck": 8},
        "masker": {"kind": "bernoulli", "ratio": 0.4},
    },
    "rotation": {"kind": "rotation", "turns": [0, 0]},
}

NEGATIVE_FREE: dict[str, dict[str, Any]] = {
    "negative_free": {"objective": None, "objectives": EVERY, "nets": {"teacher": {"momentum": 0.9}}}
}
"""Case -> changes of the tiny run."""
