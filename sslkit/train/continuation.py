"""What schedules over the run's length do where a run is made longer, for people."""

from __future__ import annotations

from collections.abc import Iterator

from sslkit.specs.schedule import Ramp
from sslkit.specs.walk import walk
from sslkit.train.step.mask_schedule import timeline
from sslkit.train.step.stepper import Stepper


def going_on(stepper: Stepper) -> Iterator[str]:
    """A line for each schedule that moves: its value at the last step until now, at the next one, and at the end."""
    length, extended = stepper.length, stepper.spec.extended[-1]
    steps = (extended.step - 1, extended.step, length.steps - 1)
    yield f"schedules {extended.schedule} from step {extended.step:,} to {length.steps:,}:"
    rows = {"learning rate": [f"{stepper.lr(step):.3g}" for step in steps]}
    rows |= {
        path: [f"{ramp.at(*length.clock(step)):.4g}" for step in steps]
        for path, ramp in _ramps(stepper).items()
    }
    if len(timeline(stepper.masking.maskers, length)) > 1:
        rows["masks"] = [f"{length.progress(step):.0%}" for step in steps]
    for name, (last, following, end) in rows.items():
        yield f"  {name}: {last} -> {following}, at the end {end}"


def _ramps(stepper: Stepper) -> dict[str, Ramp]:
    """The values that move over the run, by their paths; those of evaluators move over trainings of their own."""
    return {
        path: part
        for path, part in walk(stepper.spec)
        if isinstance(part, Ramp) and not path.startswith("evaluate")
    }
