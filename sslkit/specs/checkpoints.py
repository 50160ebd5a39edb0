"""When checkpoints are written and which are kept. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, final

from sslkit.core.problem import Problem
from sslkit.specs.base import Count, Spec
from sslkit.specs.run_metrics import refusal
from sslkit.specs.schedule import Period

if TYPE_CHECKING:
    from sslkit.specs.run import RunSpec


@final
class CheckpointSpec(Spec):
    """When to save, and what to keep."""

    every: Period = "1 epochs"
    """`5 epochs` or `500 steps`. The end, SIGTERM and SIGINT save too."""
    keep: Count = 2
    """Newest checkpoints kept."""
    best: str | None = None
    """Metric whose best checkpoint is kept too (`eval/knn/accuracy`). Default: the first with a direction."""

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """The metric must be one that an evaluation reports, and it must be known when it is better."""
        text = None if self.best is None else refusal(self.best, run.evaluate)
        if text is not None:
            yield Problem("best", text)
