"""Lengthenings of a run, each with how schedules go on. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, final

from sslkit.core.problem import Problem
from sslkit.specs.base import Count, Spec

if TYPE_CHECKING:
    from sslkit.specs.run import RunSpec

Continuation = Literal["stretch", "constant", "restart"]
"""How schedules over the run's length go on where it was made longer."""


@final
class Extension(Spec):
    """A finished run that `sslkit extend` made longer."""

    step: Count
    """Steps that it had made, which were all until then."""
    schedule: Continuation
    """`stretch`: schedules go on as those of the longer run; `constant`: at their last values; `restart`: from their
    beginning, over what was added (SGDR's warm restart)."""

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """A rate that ended at 0 teaches nothing more."""
        if self.schedule == "constant" and run.schedule.shape == "cosine" and run.schedule.final == 0:
            yield Problem(
                "schedule",
                "'constant' would go on at the last learning rate, which is next to 0, as `schedule.final` is 0; "
                "choose 'restart' or 'stretch'",
            )


def order_problems(extended: tuple[Extension, ...], steps: int | None) -> Iterator[Problem]:
    """Every lengthening begins after the one before it and before the end of the run, `steps` where it is known."""
    for i, (before, after) in enumerate(pairwise(extended), start=1):
        if after.step <= before.step:
            yield Problem(f"extended.{i}.step", f"{after.step:,} is not after {before.step:,}")
    if extended and steps is not None and extended[-1].step >= steps:
        last = f"extended.{len(extended) - 1}.step"
        yield Problem(last, f"{extended[-1].step:,} is not before the end of the run, {steps:,}")
