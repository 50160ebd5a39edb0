"""Contents of a run folder as reports read them: lock, summary, records and evaluations."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sslkit.errors import CheckpointError, SslkitWarning
from sslkit.runs import metrics_log
from sslkit.runs.checkpoint import FOLDER, Checkpoints, read_meta
from sslkit.runs.evaluations import Evaluation, evaluations, steps
from sslkit.runs.lock import read_lock
from sslkit.runs.summary import require_summary

BASELINES = {"raw pixels": "raw_pixels", "untrained": "untrained", "start": "start"}
"""Title -> name in the records."""
SHARES = frozenset({"map", "miou", "area", "ari", "nmi", "relative"})
"""Metrics that lie between 0 and 1, beside accuracies."""


class RunData(NamedTuple):
    """One run, read once."""

    run_dir: Path
    lock: Mapping[str, Any]
    summary: Mapping[str, Any]
    """Empty where the run was killed, or still trains."""
    records: Sequence[Mapping[str, Any]]
    evaluations: Mapping[str, Evaluation]
    """By label, each at its last step."""

    @property
    def name(self) -> str:
        """The run's own name, or its folder's."""
        return str(self.lock["spec"].get("name") or self.run_dir.resolve().name)

    @property
    def step(self) -> int:
        """Steps that are done."""
        return int(self.summary.get("step") or max((int(r["step"]) for r in self.records), default=0))

    @property
    def total(self) -> int | None:
        """Steps that are asked for."""
        steps = self.lock["resolved"].get("steps")
        return None if steps is None else int(steps)

    def baseline(self, which: str, label: str, metric: str) -> float | None:
        """What `raw_pixels`, `untrained` or the weights of the `start` scored, where that was asked for."""
        key = f"baseline/{which}/{label}/{metric}"
        return next((finite(r[key]) for r in reversed(self.records) if key in r), None)

    def warnings(self) -> list[tuple[int, str]]:
        """(step, text) of all warnings of the training."""
        return [(int(r["step"]), _text_of(r["warning"])) for r in self.records if "warning" in r]

    def curve(self, key: str) -> tuple[list[float], list[float]]:
        """(steps, values) of what was recorded under `key`, finite values only."""
        recorded = ((float(r["step"]), finite(r.get(key))) for r in self.records)
        kept = [(step, value) for step, value in recorded if value is not None]
        return [step for step, _ in kept], [value for _, value in kept]

    def keys(self, accepted: Callable[[str], bool]) -> list[str]:
        """Recorded keys, in the order in which they came."""
        return [key for key in dict.fromkeys(k for r in self.records for k in r) if accepted(key)]


def read_run(run_dir: Path) -> RunData:
    """Read the run in `run_dir`, which may still train.

    Raises:
        CheckpointError: the folder holds no run, or a file is damaged.

    Warns:
        UserWarning: records are not those that were written.
    """
    lock = read_lock(run_dir)
    if changed := _changed_records(run_dir):
        warnings.warn(changed, SslkitWarning, stacklevel=2)
    results = evaluations(run_dir) if steps(run_dir) else {}
    return RunData(
        run_dir, lock, require_summary(run_dir), metrics_log.read(run_dir), _in_order(results, lock)
    )


def _changed_records(run_dir: Path) -> str | None:
    """Whether records are not those of the newest checkpoint that is whole, in words."""
    for path in reversed(Checkpoints(run_dir / FOLDER).all()):
        with contextlib.suppress(CheckpointError):
            return metrics_log.audit(run_dir, read_meta(path))
    return None


def _in_order(results: Mapping[str, Evaluation], lock: Mapping[str, Any]) -> dict[str, Evaluation]:
    """As the spec lists them, others after, and last those that are not the run's own."""
    listed = [str(e.get("name") or e.get("kind")) for e in lock["spec"].get("evaluate", [])]
    others = sorted(results, key=lambda label: bool(results[label].variant))
    return {label: results[label] for label in dict.fromkeys([*listed, *others]) if label in results}


def finite(value: object) -> float | None:
    """`value` where it is a finite number."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def is_share(name: str, value: float | None) -> bool:
    """Whether the metric `name` lies between 0 and 1, where more is better."""
    word = name.rpartition("_")[2]
    bounded = "accuracy" in name or word in SHARES or name.startswith(("recall", "top"))
    return bounded and value is not None and 0 <= value <= 1


def share_axes(runs: Sequence[RunData]) -> Iterator[tuple[str, str, str]]:
    """(axis, label, metric) of what a radar can hold: what lies between 0 and 1 in every run that has it."""
    labels = (
        label for run in runs for label, evaluation in run.evaluations.items() if not evaluation.variant
    )
    for label in dict.fromkeys(labels):
        evaluation = next(run.evaluations[label] for run in runs if label in run.evaluations)
        for metric in dict.fromkeys(
            (evaluation.headline, *(m for m in ("nmi", "top5") if m in evaluation.metrics))
        ):
            if (
                is_share(metric, finite(evaluation.metrics[metric]))
                and evaluation.better.get(metric) != "lower"
            ):
                yield (label if metric == evaluation.headline else f"{label} {metric}"), label, metric


def _text_of(warning: object) -> str:
    """In words; what the guard of collapse records holds numbers beside them."""
    match warning:
        case {"text": text}:
            return str(text)
    return str(warning)
