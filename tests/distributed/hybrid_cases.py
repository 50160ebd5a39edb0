"""Runs of hybrids, for two ranks against one process: nested, salted, weighed on a schedule, balanced twice."""

from __future__ import annotations

from typing import Any

from tests import tiny
from tests.distributed.distillation_cases import CROPS, SMALL, TEACHER

HALF = {"kind": "random", "ratio": 0.5}
TOKEN = {"kind": "bernoulli", "ratio": 0.4}
APART = {
    "kind": "hybrid",
    "objectives": {
        "spread": {"kind": "variance_covariance", "masker": HALF, "weight": 0.5},
        "sphere": {"kind": "uniformity"},
        "nearest": {"kind": "koleo", "masker": HALF, "salt": 1},
    },
    "balance": {"kind": "uncertainty"},
    "weight": {"start": 0.5, "end": 2.0},
}
TERMS = {
    "mim": {"kind": "mae", "masker": HALF, "decoder": tiny.DECODER},
    "cls": {"kind": "dino", **SMALL, "masker": TOKEN},
    "patch": {"kind": "masked_distillation", **SMALL, "masker": TOKEN},
    "apart": APART,
}
HYBRIDS: dict[str, dict[str, Any]] = {
    f"hybrid_{balance}": {
        "objective": {"kind": "hybrid", "objectives": TERMS, "balance": {"kind": balance}},
        "nets": TEACHER,
        "views": CROPS,
    }
    for balance in ("fixed", "pcgrad")
}
"""Case -> changes of the tiny run."""
