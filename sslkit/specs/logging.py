"""What is recorded while a run goes on. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, final

from sslkit.core.problem import Problem
from sslkit.specs.base import Count, Spec
from sslkit.specs.families import LoggerField
from sslkit.specs.schedule import Period

if TYPE_CHECKING:
    from sslkit.specs.run import RunSpec


@final
class LogSpec(Spec):
    """What is recorded while training."""

    every: Count = 10
    """Steps between records of the loss."""
    collapse: Literal["warn", "off", "stop"] = "warn"
    """When the records show that features become alike: say so once, nothing, or say so, save and stop."""
    conflict: Period | None = None
    """How often the gradients of the objectives are compared (`100 steps`), at a backward for each. Default: never."""
    flops: bool = True
    """Count the floating-point operations of a step before the first, for the summary; takes about half a second."""
    figures: bool = True
    """Draw curves and pictures of held-out images, at most once a minute and at the end, and what evaluators show of
    their results; takes about a second each time."""
    loggers: tuple[LoggerField, ...] = ()
    """Further places for metrics: `tensorboard`, `wandb`, or a plugin's."""

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        """Gradients are compared with each other."""
        if len(run.terms) == 1:
            yield Problem(
                "conflict", "compares the gradients of several objectives, and there is one; leave it out"
            )
