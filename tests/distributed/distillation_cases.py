"""Runs of self-distillation, for two ranks against one process. Several objectives share a run: it starts once."""

from __future__ import annotations

from typing import Any

from tests import tiny

HEAD = {"layers": 2, "hidden": 16, "bottleneck": 8}
SMALL = {"prototypes": 12, "head": HEAD, "freeze_last_layer": 0}
TEACHER = {"teacher": {"momentum": 0.9}}
CROPS = {"global": {**tiny.VIEW, "crops": 2}, "local": {**tiny.VIEW, "size": 4, "crops": 2}}
MASKER = {"kind": "bernoulli", "ratio": 0.4}

JOINED = {
    "norm": {"kind": "dino", **SMALL, "batch_norm": True},
    "spread": {"kind": "dino", **SMALL, "koleo": 0.1, "centering": "sinkhorn"},
    "even": {"kind": "ibot", **SMALL, "masker": MASKER, "centering": "sinkhorn"},
}
"""What compares the images of a batch, or norms them together."""
ALONE = {
    "dino": {"kind": "dino", **SMALL},
    "ibot": {"kind": "ibot", **SMALL, "masker": MASKER, "shared_head": False, "patch_prototypes": 10},
    "hidden": {"kind": "ibot", **SMALL, "masker": MASKER, "patch_center": "hidden"},
}
"""What scores each image alone, so that micro-batches change nothing either."""

DISTILLATION: dict[str, dict[str, Any]] = {
    "distillation": {"objective": None, "objectives": JOINED, "nets": TEACHER, "views": CROPS},
    "centers": {
        "objective": None,
        "objectives": ALONE,
        "nets": TEACHER,
        "views": CROPS,
        "micro_batch_size": 8,
    },
}
"""Case -> changes of the tiny run."""
