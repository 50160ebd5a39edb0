"""Best value so far of every evaluation metric, by the direction that its kind declares."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypedDict, final

from sslkit.specs.metrics import Better, directions
from sslkit.specs.run import RunSpec
from sslkit.specs.run_metrics import PREFIX

Records = Iterable[Mapping[str, Any]]
"""Those of `metrics.jsonl`, in order."""


class Entry(TypedDict):
    """The best value of a metric."""

    value: float
    step: int
    better: Better


@final
class Best:
    """Best values with their steps. Metrics that have no direction have no best value."""

    def __init__(self, spec: RunSpec) -> None:
        self._wanted = spec.checkpoint.best
        self._declared = {evaluator.label: evaluator.reported_metrics() for evaluator in spec.evaluate}
        self.values: dict[str, Entry] = {}
        """Metric -> `value`, `step`, and `better`: `higher` or `lower`."""
        self.corrected: tuple[str, ...] = ()
        """Metrics that a checkpoint had by the other direction."""

    @property
    def metric(self) -> str | None:
        """The metric whose best checkpoint is kept: the named one, or the first that was reported."""
        return self._wanted or next(iter(self.values), None)

    @property
    def step(self) -> int | None:
        """The step of the best checkpoint."""
        entry = self.values.get(self.metric or "")
        return None if entry is None else int(entry["step"])

    def update(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take the metrics of an evaluation after `step`; the earlier of two equal values stays the best.

        Values that are not finite are never the best.
        """
        for name, better in self._directions(metrics).items():
            value = metrics[name]
            if better is None or not math.isfinite(value):
                continue
            if name not in self.values or _beats(value, self.values[name]["value"], better):
                self.values[name] = {"value": value, "step": step, "better": better}

    def unreported(self, metrics: Mapping[str, float]) -> str | None:
        """What to say where its evaluation does not report the metric that `checkpoint.best` names."""
        if self._wanted is None or self._wanted in metrics:
            return None
        label = _label(self._wanted)
        others = [name for name in metrics if _label(name) == label]
        if not others:  # the evaluation was not due
            return None
        return (
            f"checkpoint.best: {self._wanted!r} is not reported with these data and settings, so no best checkpoint is "
            f"kept. Reported: {', '.join(others)}"
        )

    def state(self) -> dict[str, Entry]:
        """For a checkpoint."""
        return self.values

    def restore(self, state: Mapping[str, Entry], records: Callable[[], Records]) -> None:
        """From a checkpoint.

        Args:
            state: what `state` gave. Checkpoints of before directions were declared took higher as better for all.
            records: those of the run until the checkpoint; values that were kept by another direction come from them.
        """
        wanted = self._directions(state)
        stale = [
            name
            for name, better in wanted.items()
            if better and better != state[name].get("better", "higher")
        ]
        again = self._replayed(records() if stale else (), stale)
        self.corrected = tuple(stale)
        self.values = {
            name: again[name] if name in stale else {**state[name], "better": better}
            for name, better in wanted.items()
            if better is not None and (name not in stale or name in again)
        }

    def _replayed(self, records: Records, names: Iterable[str]) -> dict[str, Entry]:
        """Best values of the metrics `names`, from all records."""
        values, self.values = self.values, {}
        for record in records:
            reported = {name: record[name] for name in names if record.get(name) is not None}
            self.update(int(record["step"]), reported)
        again, self.values = self.values, values
        return again

    def _directions(self, names: Iterable[str]) -> dict[str, Better | None]:
        """Of `eval/LABEL/METRIC`, in order."""
        by_label: dict[str, dict[str, str]] = {}
        for name in names:
            label = _label(name)
            by_label.setdefault(label, {})[name] = name.removeprefix(f"{PREFIX}/{label}/")
        result: dict[str, Better | None] = {}
        for label, metrics in by_label.items():
            better = directions(self._declared.get(label, {}), metrics.values())
            result |= {name: better[metric] for name, metric in metrics.items()}
        return result


def _label(name: str) -> str:
    """Of `eval/LABEL/METRIC`."""
    return name.removeprefix(f"{PREFIX}/").partition("/")[0]


def _beats(value: float, other: float, better: Better) -> bool:
    return value > other if better == "higher" else value < other
