"""Collapse detection on the training records: features, prototypes, losses, targets and predictions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, final

GRACE = 50.0
"""Steps before anything is judged; a step at a share of the peak learning rate counts by that share."""
RECORDS = 5
"""Records in a row that must look collapsed,"""
STEPS = 40
"""and fewest steps from the first of them to the last."""
RECOVERY = 1.5
"""A row ends where health rises above this times its first one,"""
DEAD = 0.1
"""which counts as this where it is lower: changes near nothing are noise."""

FALLEN = 0.25
"""`feature_std` below this share of its highest value so far,"""
FEATURES = 0.1
"""or below this, for networks whose features were alike from the start."""
PROTOTYPES = 0.46
"""`prototype_entropy_share` below this."""
UNIFORM = 2e-3
"""`teacher_entropy_share` within this of 1."""
PINNED = 2e-3
"""`loss_share` within this of 1."""
WORSE = 3.2
"""`loss_share` above this."""
DROP = 0.05
"""`target_std` or `prediction_std` below this share of its highest value so far."""


class Rule(NamedTuple):
    """The threshold of a metric, and the words of its warning."""

    health: Callable[[float, float], float]
    """Of the value and the highest so far; below 1 the metric looks collapsed."""
    seen: str
    """What the value means."""
    causes: str
    """What usually causes it."""
    remedies: str
    """What to try."""


RULES: Mapping[str, tuple[Rule, ...]] = {
    "feature_std": (
        Rule(
            lambda value, highest: value / max(FEATURES, FALLEN * highest),
            "features of different images have become alike (1: spread evenly, 0: all alike)",
            "no predictor, no negatives or no centering, too low a momentum of the teacher, too high a learning rate",
            "check these first, then a lower optimizer.lr or a longer warm-up",
        ),
    ),
    "teacher_entropy_share": (
        Rule(
            lambda value, highest: (1 - value) / UNIFORM,
            "the teacher gives each image all prototypes in equal shares (1: uniform), so there is nothing to learn",
            "a teacher temperature that is too high, not below the student's",
            "a lower teacher temperature (DINO: 0.04, with 0.1 for the student)",
        ),
    ),
    "prototype_entropy_share": (
        Rule(
            lambda value, highest: value / PROTOTYPES,
            "the teacher gives all images the same few prototypes (0: one takes all, 1: used evenly)",
            "no centering, or a center that moves too slowly for the teacher's temperature",
            "centering=center or sinkhorn, a lower center momentum, a higher teacher temperature",
        ),
    ),
    "loss_share": (
        Rule(
            lambda value, highest: abs(1 - value) / PINNED,
            "the loss is that of guessing, ln K of K candidates (as a share of it), and gradients vanish",
            "a temperature that is far too high, features that are all alike, or a learning rate that is far too low",
            "a temperature of 0.1 to 0.5, then optimizer.lr",
        ),
        Rule(
            lambda value, highest: WORSE / value if value > 0 else math.inf,
            "the loss is far above that of guessing, ln K of K candidates (as a share of it)",
            "a temperature that is far too low, or a learning rate that is too high",
            "a temperature of 0.1 to 0.5, then a lower optimizer.lr",
        ),
    ),
    "target_std": (
        Rule(
            lambda value, highest: value / (DROP * highest) if highest > 0 else 0.0,
            "the goals of all patches have become alike",
            "a momentum of the teacher that is too low, a learning rate that is too high",
            "a higher momentum, a lower optimizer.lr, goals that are normalized, `regularize`",
        ),
    ),
    "prediction_std": (
        Rule(
            lambda value, highest: value / (DROP * highest) if highest > 0 else 0.0,
            "the predictions for all patches have become alike",
            "goals that are alike, a learning rate that is too high",
            "a look at target_std, a lower optimizer.lr or a longer warm-up",
        ),
    ),
}
"""METRIC of `OBJECTIVE/METRIC` -> its rules."""


class Row(NamedTuple):
    """Records in a row that look collapsed."""

    since: int
    """Step of the first."""
    records: int
    health: float
    """Of the first."""


class Finding(NamedTuple):
    """A warning: once for each metric of a run."""

    metric: str
    """Its name in records."""
    step: int
    """Step of the record that completed the evidence."""
    since: int
    """Step of the first record of the row."""
    value: float
    """The metric at `step`."""
    text: str
    """What was seen, since when, what usually causes it and what to try."""


@final
class CollapseGuard:
    """Reads the records of training. Every rank reads the same ones, so all decide alike."""

    def __init__(self, mode: Literal["warn", "off", "stop"], peak_lr: float) -> None:
        self._mode, self._peak = mode, peak_lr
        self._step, self._worked = 0, 0.0
        self._highest: dict[str, float] = {}
        self._rows: dict[str, Row] = {}
        self._reported = self._restored = 0
        self.findings: list[Finding] = []

    @property
    def stopping(self) -> bool:
        """Whether something that this part of the run found ends it."""
        return self._mode == "stop" and len(self.findings) > self._restored

    def look(self, record: Mapping[str, float]) -> list[dict[str, object]]:
        """Read a record, which has a `step` and `lr`; return what is new, as data."""
        if self._mode == "off":
            return []
        step = int(record["step"])
        self._worked += (step - self._step) * record["lr"] / self._peak
        self._step = step
        flagged = {finding.metric for finding in self.findings}
        for name, value in record.items():
            kind = name.rsplit("/", 1)[-1]
            if kind in RULES and name not in flagged and math.isfinite(value):
                self._judge(name, value, RULES[kind])
        return [finding._asdict() for finding in self.findings[len(flagged) :]]

    def news(self) -> list[Finding]:
        """Findings since the last call."""
        new, self._reported = self.findings[self._reported :], len(self.findings)
        return new

    def reason(self, run_dir: Path) -> str:
        """Why the run stops, and how it goes on."""
        return (
            f"{self.findings[-1].text}. The run is saved and stops here because of `log.collapse=stop`; "
            f"`sslkit resume {run_dir}` goes on all the same"
        )

    def state(self) -> dict[str, object]:
        """For a checkpoint."""
        return {
            "step": self._step,
            "worked": self._worked,
            "highest": dict(self._highest),
            "rows": {name: list(row) for name, row in self._rows.items()},
            "findings": [list(finding) for finding in self.findings],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint; what it found is not said again."""
        if not state:  # a checkpoint of before there was a guard
            return
        self._step, self._worked = state["step"], state["worked"]
        self._highest = dict(state["highest"])
        self._rows = {name: Row(*row) for name, row in state["rows"].items()}
        self.findings = [Finding(*finding) for finding in state["findings"]]
        self._reported = self._restored = len(self.findings)

    def _judge(self, name: str, value: float, rules: tuple[Rule, ...]) -> None:
        highest = self._highest[name] = max(value, self._highest.get(name, value))
        if self._worked < GRACE:
            return
        for place, rule in enumerate(rules):
            row = self._row(f"{name}#{place}", rule.health(value, highest))
            if row is not None and row.records >= RECORDS and self._step - row.since >= STEPS:
                text = _text(name, value, self._step, row.since, rule)
                self.findings.append(Finding(name, self._step, row.since, value, text))
                return

    def _row(self, key: str, health: float) -> Row | None:
        """The row that a record of this `health` belongs to, if any."""
        row = self._rows.pop(key, None)
        if health >= 1:
            return None
        if row is None or health > RECOVERY * max(DEAD, row.health):
            row = Row(self._step, 0, health)
        row = self._rows[key] = row._replace(records=row.records + 1)
        return row


def _text(name: str, value: float, step: int, since: int, rule: Rule) -> str:
    return (
        f"collapse: {name} is {value:.3g} at step {step}, and has been that way since step {since}: {rule.seen}. "
        f"Usual causes: {rule.causes}. Try: {rule.remedies}"
    )
