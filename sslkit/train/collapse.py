"""The collapse guard: reads the records that are made anyway and tells people when features become alike."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, final

GRACE = 50.0
"""Steps at the full learning rate before anything is judged; those of the warm-up count by their share of it."""
RECORDS = 5
"""Records in a row that must look collapsed,"""
STEPS = 40
"""and the fewest steps from the first of them to the last."""


@final
@dataclass(frozen=True)
class Rule:
    """When a metric looks collapsed, and what a person is told."""

    metric: str
    """End of the metric's name, after `OBJECTIVE/`."""
    seen: str
    """What the values mean."""
    causes: str
    """What usually causes it."""
    remedies: str
    """What to try."""
    below: float = -math.inf
    """Values under this look collapsed."""
    above: float = math.inf
    """So do those over this."""
    drop: float = 0.0
    """So do those under this share of the highest value so far."""

    def collapsed(self, value: float, highest: float) -> bool:
        """Whether `value` of a metric whose highest so far was `highest` looks collapsed."""
        return value < self.below or value > self.above or value < self.drop * highest


@final
@dataclass(frozen=True)
class Finding:
    """A warning: once for each metric and run."""

    metric: str
    """Name of the metric in records."""
    step: int
    """Record that completed the evidence."""
    since: int
    """First record of the row that looked collapsed."""
    value: float
    """The metric at `step`."""
    text: str
    """What was seen, since when, what usually causes it and what to try."""


RULES = (
    Rule(
        "feature_std",
        "embeddings of different images are nearly alike (1 would be spread evenly, 0 all alike)",
        "a missing predictor, negatives or centering, a learning rate that is too high, or a temperature far off",
        "check these, lower optimizer.lr, or lengthen the warm-up",
        below=0.05,
    ),
    Rule(
        "teacher_entropy_share",
        "the teacher gives every image all prototypes alike (1 is uniform)",
        "a teacher temperature that is too high, or not below the student's",
        "lower the teacher's temperature (DINO: 0.04)",
        above=0.999,
    ),
    Rule(
        "target_std",
        "the goals of all patches have become alike",
        "a momentum of the teacher that is too low, or a learning rate that is too high",
        "raise the momentum, lower optimizer.lr, or normalize the goals",
        drop=0.05,
    ),
    Rule(
        "prediction_std",
        "the predictions of all patches have become alike",
        "goals that are alike, or a learning rate that is too high",
        "look at target_std, lower optimizer.lr, or lengthen the warm-up",
        drop=0.05,
    ),
)


@final
class CollapseGuard:
    """Reads records; every rank reads the same ones, so that all decide alike.

    A metric is judged from `GRACE` steps on, and warned of once it looked collapsed for `RECORDS` records and `STEPS` steps.
    """

    def __init__(self, peak_lr: float) -> None:
        self._peak = peak_lr
        self._step, self._worked = 0, 0.0
        self._highest: dict[str, float] = {}
        self._rows: dict[str, list[int]] = {}
        self.findings: list[Finding] = []

    def look(self, record: Mapping[str, float]) -> list[Finding]:
        """Read one record; return what is new."""
        step = int(record["step"])
        self._worked += (step - self._step) * record.get("lr", 0.0) / self._peak
        self._step = step
        found = [finding for name in record for finding in self._judge(name, record[name], step)]
        self.findings += found
        return found

    def _judge(self, name: str, value: float, step: int) -> Iterator[Finding]:
        rule = next((rule for rule in RULES if name.endswith(f"/{rule.metric}")), None)
        if rule is None or name in {finding.metric for finding in self.findings}:
            return
        highest = self._highest[name] = max(value, self._highest.get(name, -math.inf))
        if self._worked < GRACE or not rule.collapsed(value, highest):
            self._rows.pop(name, None)
            return
        row = self._rows.setdefault(name, [step, 0])
        row[1] += 1
        if row[1] >= RECORDS and step - row[0] >= STEPS:
            yield Finding(name, step, row[0], value, _text(name, value, row[0], step, rule))

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "step": self._step,
            "worked": self._worked,
            "highest": dict(self._highest),
            "rows": {name: list(row) for name, row in self._rows.items()},
            "findings": [asdict(finding) for finding in self.findings],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint; one of before there was a guard holds nothing."""
        if state:
            self._step, self._worked = state["step"], state["worked"]
            self._highest, self._rows = dict(state["highest"]), {k: list(v) for k, v in state["rows"].items()}
            self.findings = [Finding(**finding) for finding in state["findings"]]


def _text(name: str, value: float, since: int, step: int, rule: Rule) -> str:
    return (
        f"step {step}: {name} is {value:.3g}, as since step {since}: {rule.seen}. "
        f"Usual causes: {rule.causes}. Try: {rule.remedies}"
    )
