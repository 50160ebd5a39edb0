"""Schedules of values and learning rates as data, and periods of recurring work."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal, final

from pydantic import AfterValidator, Field

from sslkit.core.problem import Problem
from sslkit.specs.base import Spec

if TYPE_CHECKING:
    from sslkit.specs.run import RunSpec

_PERIOD = re.compile(r"\s*(?:end|(?P<count>[0-9]{1,15})\s*(?P<unit>epochs?|steps?))\s*")


def _period(value: str) -> str:
    match = _PERIOD.fullmatch(value)
    if match is None or (match["count"] is not None and int(match["count"]) == 0):
        raise ValueError("must be 'end', or a count above 0 with its unit, as in '5 epochs' or '500 steps'")
    return value


Period = Annotated[str, AfterValidator(_period)]
"""How often something happens: `5 epochs`, `500 steps`, or `end` for only once."""


def steps_of(period: str, steps_per_epoch: int) -> int | None:
    """The length of `period` in steps; None of `end`."""
    match = _PERIOD.fullmatch(period)
    if match is None or match["count"] is None:
        return None
    return int(match["count"]) * (steps_per_epoch if match["unit"].startswith("epoch") else 1)


def is_due(period: str, step: int, steps_per_epoch: int) -> bool:
    """Whether `period` has come round after `step` steps are done; `end` is the trainer's matter."""
    length = steps_of(period, steps_per_epoch)
    return length is not None and step % length == 0


Shape = Literal["cosine", "linear"]
"""How a value moves from one end to the other."""


def eased(share: float, shape: Shape) -> float:
    """Share of the way after `share` of the time."""
    return (1 - math.cos(math.pi * share)) / 2 if shape == "cosine" else share


@final
class Ramp(Spec):
    """A value that moves from `start` to `end` over the run, at step t of T by t / T as DINO does.

    The value at the last step is therefore not yet `end`, as in DINO and BYOL. After `until` it is.
    """

    start: float
    """Value at step 0."""
    end: float
    """Value approached at `until`."""
    shape: Shape = "cosine"
    """Half cosine (BYOL, DINO, MoCo v3) or straight line (data2vec, I-JEPA)."""
    until: float = Field(1.0, gt=0, le=1)
    """Share of the run after which the value is `end`."""
    first: Literal[0, 1] = 0
    """Number of the first step (DINO: 0). With 1 values are one step ahead, and the last is `end` (weight decay of
    I-JEPA)."""

    def at(self, step: int, total: int) -> float:
        """The value at `step` of a run of `total` steps."""
        way = eased(min(1.0, (step + self.first) / max(1.0, self.until * total)), self.shape)
        return self.start + (self.end - self.start) * way


Value = float | Ramp
"""A constant, or a `Ramp`."""


def value_at(value: Value, step: int, total: int) -> float:
    """`value` at `step` of `total`."""
    return value.at(step, total) if isinstance(value, Ramp) else value


def ends(value: Value) -> tuple[float, float]:
    """`value` at the start and at the end of the run."""
    return (value.start, value.end) if isinstance(value, Ramp) else (value, value)


@final
class LearningRateSchedule(Spec):
    """Linear warm-up, then half a cosine to `final` (MAE `util/lr_sched.py`)."""

    warmup_epochs: float | None = Field(None, ge=0)
    """Epochs of linear warm-up from `warmup_start`; MAE uses 40 of 800. Default: a twentieth of the run."""
    warmup_start: float = Field(0.0, ge=0)
    """Learning rate at step 0, absolute."""
    warmup_peak: Literal["after", "last"] = "after"
    """Step of the peak: the first `after` the warm-up (MAE, BYOL, MoCo v3), or its `last` (DINO, SwAV, BEiT)."""
    final: float = Field(0.0, ge=0)
    """Learning rate approached at the end, absolute (MAE: 0)."""
    shape: Literal["cosine", "constant"] = "cosine"
    """What follows the warm-up."""
    first: Literal[0, 1] = 0
    """Number of the first step (MAE: 0). With 1 rates are one step ahead (I-JEPA)."""
    per: Literal["step", "epoch"] = "step"
    """Whether the rate changes at every step, or at the beginning of every epoch (MoCo `--cos`, lightly)."""

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        """What is said of a warm-up or of a decay that there is not."""
        if self.warmup_epochs == 0:
            yield Problem("warmup_start", "has no effect, as `warmup_epochs` is 0; leave it out")
        if self.shape == "constant":
            yield Problem("final", "has no effect, as `shape` is constant; leave it out, or use `cosine`")
            if self.warmup_epochs == 0:
                yield Problem("per", "has no effect on a constant rate without warm-up; leave it out")

    def warmup_steps(self, total: int, steps_per_epoch: int) -> float:
        """Steps of warm-up; whole ones, or whole epochs, where the last of them has the peak."""
        steps = total / 20 if self.warmup_epochs is None else self.warmup_epochs * steps_per_epoch
        if self.warmup_peak == "after":
            return steps
        unit = self._unit(steps_per_epoch)
        return math.floor(round(steps / unit, 9)) * unit  # 0.29 * 100 is 28.999999999999996

    def at(self, step: int, total: int, steps_per_epoch: int, peak: float) -> float:
        """Learning rate of `step` (from 0) where the warm-up ends at `peak`."""
        warmup, unit = self.warmup_steps(total, steps_per_epoch), self._unit(steps_per_epoch)
        step = (step + self.first) // unit * unit
        if step < warmup:
            # `linspace(start, peak, n)` divides by n - 1, and is only `start` where n is 1
            way = warmup if self.warmup_peak == "after" else max(unit, warmup - unit)
            return self.warmup_start + (peak - self.warmup_start) * step / way
        if self.shape == "constant":
            return peak
        share = min(1.0, (step - warmup) / max(1e-9, total - warmup))
        return self.final + (peak - self.final) * 0.5 * (1 + math.cos(math.pi * share))

    def _unit(self, steps_per_epoch: int) -> int:
        """Steps between two changes of the rate."""
        return steps_per_epoch if self.per == "epoch" else 1
