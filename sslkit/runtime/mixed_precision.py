"""Reduced precision: which one a run uses, and torch's autocast for it."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

import torch

from sslkit.specs.run import RunSpec


def autocast_of(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Reduced precision for the block, or nothing for `float32`."""
    return (
        contextlib.nullcontext()
        if precision == "float32"
        else torch.autocast(device.type, getattr(torch, precision))
    )


def resolved_precision(spec: RunSpec, device: torch.device) -> str:
    """The autocast type of this run."""
    return spec.precision or ("bfloat16" if device.type == "cuda" else "float32")
