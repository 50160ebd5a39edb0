"""A rank of a run that is sent a signal."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from sslkit.cli.main import main as sslkit
from sslkit.train.step.stepper import Stepper
from sslkit_evaluators.probes.knn import KNNEvaluator


def main(when: str, spec: str, out: str) -> None:
    """Send this rank SIGUSR1 as `when` says, and write its exit code beside `out`.

    `step-R`: rank R in its third step; `evaluation`: all ranks in their first evaluation.
    """
    rank, step, evaluate = os.environ["RANK"], Stepper.__call__, KNNEvaluator.__call__

    def called(self: Stepper, number: int, batches: Any) -> Any:
        if number == 2 and when == f"step-{rank}":
            os.kill(os.getpid(), signal.SIGUSR1)
        return step(self, number, batches)

    def evaluated(self: KNNEvaluator, subject: Any) -> Any:
        if when == "evaluation":
            os.kill(os.getpid(), signal.SIGUSR1)
        return evaluate(self, subject)

    Stepper.__call__ = called  # type: ignore[method-assign]
    KNNEvaluator.__call__ = evaluated  # type: ignore[method-assign]
    code = sslkit(["run", spec, "--out", out])
    Path(f"{out}-{rank}").write_text(str(code))
