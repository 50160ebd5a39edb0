"""Runs in shards against replicas and one process."""

from __future__ import annotations

from typing import Any

from sslkit.specs.run import RunSpec
from tests import tiny
from tests.distributed.negative_free_cases import EVERY
from tests.distributed.worker import TERMS
from tests.distributed.worker import case_spec as base_spec

ADAM = {"name": "adamw", "lr": 0.003, "clip": 0.3, "layer_decay": 0.8}
"""A gradient that is cut to its norm, and groups of several learning rates."""
LARS = {"name": "lars", "lr": 0.3, "weight_decay": 1e-4, "momentum": 0.9, "clip": 0.5, "clip_per": "tensor"}
"""Norms of whole tensors, twice."""
LAMB = {"name": "lamb", "lr": 0.01, "weight_decay": 0.01}
"""An optimizer of timm that reads norms."""
HYBRID = {"objective": None, "objectives": TERMS}
WHOLE = {name: term for name, term in EVERY.items() if "masker" not in term}
"""What hides no patches."""
CNN = {"kind": "cnn", "name": "test_resnet"}
ODD = {**tiny.VIT, "width": 20}
"""Halves of its tensors end within a vector of any processor, of 4, 8 or 16 numbers."""

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "mae": ("mae", {"optimizer": ADAM}),
    "compiled": ("mae", {"optimizer": ADAM, "compile": {"enabled": True, "backend": "aot_eager"}}),
    "odd": ("mae", {"optimizer": {**ADAM, "clip": None}, "backbone": ODD}),
    "lamb": ("mae", {"optimizer": LAMB}),
    "micro": ("micro", {}),
    "contrast": ("contrast", {}),
    "contrast_micro": ("contrast_micro", {}),
    "moco": ("moco", {}),
    "double": ("mae", {"nets": {"teacher": {"momentum": 0.9}}}),
    "lora": ("mae", {"nets": {"teacher": {"momentum": 0.9}}, "lora": {"rank": 2}}),
    "negative_free": ("negative_free", {}),
    "lars": ("negative_free", {"optimizer": LARS}),
    "cnn": (
        "negative_free",
        {"backbone": CNN, "objectives": WHOLE, "views": {"global": {**tiny.VIEW, "size": 32, "crops": 2}}},
    ),
    "distillation": ("distillation", {}),
    "centers": ("centers", {}),
    "curriculum": ("curriculum", {}),
    "queue": ("queue", {}),
    "pcgrad": ("micro", {**HYBRID, "balance": {"kind": "pcgrad"}}),
    "features_micro": ("micro", {**HYBRID, "balance": {"kind": "pcgrad", "space": "features"}}),
    "each_micro": ("contrast_micro", {"balance": {"kind": "pcgrad"}}),
    "features": ("mae", {**HYBRID, "balance": {"kind": "pcgrad", "space": "features"}}),
}
"""Case -> a case of `worker`, and what is changed in it."""


def case_spec(case: str) -> RunSpec:
    """The run of `case`."""
    base, changes = CASES[case]
    return RunSpec.model_validate({**base_spec(base).model_dump(), **changes})
