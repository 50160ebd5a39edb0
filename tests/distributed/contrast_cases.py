"""Runs of contrastive objectives, for two ranks against one process. Several objectives share a run: it starts once."""

from __future__ import annotations

from typing import Any

HEAD = {"hidden": 16, "out": 8}
TEACHER = {"teacher": {"momentum": 0.9, "update": "before_forward"}}

JOINED = {
    "simclr": {"kind": "simclr", "projector": {**HEAD, "init": "torch"}, "temperature": 0.5},
    "v3": {
        "kind": "moco_v3",
        "projector": HEAD,
        "predictor": HEAD,
    },
    "options": {
        "kind": "infonce",
        "projector": {**HEAD, "layers": 2, "batch_norm": "split", "splits": 2},
        "temperature": 0.3,
        "learn_temperature": True,
        "queue": 80,
        "all_crops": True,
    },
    "both_ways": {
        "kind": "moco_v2",
        "projector": {**HEAD, "norm": True, "batch_norm": "shuffled", "splits": 2},
        "queue": 96,
        "symmetric": True,
    },
}
"""What compares the images of a batch, or norms them together."""
ALONE = {
    "moco": {"kind": "moco_v2", "projector": HEAD, "queue": 72},
    "both_ways": {"kind": "moco_v2", "projector": {"layers": 1, "out": 8}, "queue": 100, "symmetric": True},
}
"""What scores each query alone, so that micro-batches change nothing either."""

CONTRASTIVE: dict[str, dict[str, Any]] = {
    "contrast": {"objective": None, "objectives": JOINED, "nets": TEACHER},
    "contrast_micro": {"objective": None, "objectives": JOINED, "nets": TEACHER, "micro_batch_size": 8},
    "moco": {"objective": None, "objectives": ALONE, "nets": TEACHER, "micro_batch_size": 8},
}
"""Case -> changes of the tiny run."""
