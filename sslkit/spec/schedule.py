"""Values that change over a run: `step -> float`, stated as data."""

from __future__ import annotations

import math
from typing import Literal, final

from pydantic import Field

from sslkit.spec.base import Spec


@final
class Ramp(Spec):
    """A value that moves from `start` to `end` over the run, at step t of T by t / T as DINO does.

    The value at the last step is therefore not yet `end` (PARITY: DINO, BYOL); it stays at `end` after `until`.
    """

    start: float
    """Value at step 0."""
    end: float
    """Value approached at `until`."""
    shape: Literal["cosine", "linear"] = "cosine"
    """Half cosine (BYOL, DINO, MoCo v3) or straight line (data2vec, I-JEPA)."""
    until: float = Field(1.0, gt=0, le=1)
    """Share of the run after which the value is `end`."""

    def at(self, step: int, total: int) -> float:
        """The value at `step` of a run of `total` steps."""
        share = min(1.0, step / max(1.0, self.until * total))
        if self.shape == "cosine":
            share = (1 - math.cos(math.pi * share)) / 2
        return self.start + (self.end - self.start) * share


Value = float | Ramp
"""A constant, or a `Ramp`."""


def value_at(value: Value, step: int, total: int) -> float:
    """`value` at `step` of `total`."""
    return value.at(step, total) if isinstance(value, Ramp) else value


@final
class LearningRateSchedule(Spec):
    """Linear warm-up, then half a cosine to `final`, per step (MAE `util/lr_sched.py`)."""

    warmup_epochs: float | None = Field(None, ge=0)
    """Epochs of linear warm-up from `warmup_start`; MAE uses 40 of 800. Default: a twentieth of the run."""
    warmup_start: float = Field(0.0, ge=0)
    """Learning rate at step 0, absolute."""
    final: float = Field(0.0, ge=0)
    """Learning rate approached at the end, absolute (MAE: 0)."""
    shape: Literal["cosine", "constant"] = "cosine"
    """What follows the warm-up."""

    def warmup_steps(self, total: int, steps_per_epoch: int) -> float:
        """Steps of warm-up."""
        return total / 20 if self.warmup_epochs is None else self.warmup_epochs * steps_per_epoch

    def at(self, step: int, total: int, steps_per_epoch: int, peak: float) -> float:
        """Learning rate of `step` (from 0) where the warm-up ends at `peak`."""
        warmup = self.warmup_steps(total, steps_per_epoch)
        if step < warmup:
            return self.warmup_start + (peak - self.warmup_start) * step / warmup
        if self.shape == "constant":
            return peak
        share = min(1.0, (step - warmup) / max(1e-9, total - warmup))
        return self.final + (peak - self.final) * 0.5 * (1 + math.cos(math.pi * share))
