"""Records of a comparison of runs, from which the terminal table, JSON and reports are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import singledispatch
from typing import NamedTuple

from sslkit.runs.budget import Budget, warning
from sslkit.specs.metrics import Better
from sslkit.statistics import Difference, McNemar, Ranking, SeedSummary


class Setting(NamedTuple):
    """Runs that differ only in their seed."""

    name: str
    runs: tuple[str, ...]
    """Their folders, by seed."""
    seeds: tuple[int, ...]


class Measure(NamedTuple):
    """One evaluation that all runs have."""

    label: str
    protocol: str
    metric: str
    """The headline; what is compared."""
    accuracy: bool
    """Whether it is an accuracy over images whose predictions are kept: shown in points."""
    images: int | None
    """Scored images, where predictions are kept."""
    test_data: str | None
    """Fingerprint of the test images."""
    better: Better | None = None
    """The direction in which the metric is better; None where neither is, or where it is not known."""


class Score(NamedTuple):
    """One setting by one measure."""

    setting: str
    label: str
    values: tuple[float, ...]
    """By seed."""
    step: int
    seeds: SeedSummary
    low: float | None
    """Bounds of the mean: over images for a single run with predictions, over seeds for several."""
    high: float | None
    method: str | None
    """How `low` and `high` were computed; None where there are none."""


class Pair(NamedTuple):
    """Two settings by one measure."""

    label: str
    first: str
    second: str
    difference: Difference | None
    """First less second; None where nothing can be tested."""
    mcnemar: McNemar | None
    """The test of single runs, on their images."""
    effects: Mapping[str, float | None]
    """Effect sizes by name."""
    p: float | None
    """Adjusted by Holm's method for all pairs of the comparison."""
    significant: bool
    verdict: str


class Meta(NamedTuple):
    """One protocol over several data sets."""

    protocol: str
    labels: tuple[str, ...]
    """One evaluation for each data set."""
    ranking: Ranking | None
    """In the order of the settings; None for fewer than three of them."""
    wins: Mapping[str, Mapping[str, tuple[int, int, int]]]
    """First setting -> second -> data sets on which it is better, not significantly different, and worse."""


class Comparison(NamedTuple):
    """The result of `sslkit compare`."""

    settings: tuple[Setting, ...]
    measures: tuple[Measure, ...]
    scores: tuple[Score, ...]
    pairs: tuple[Pair, ...]
    meta: tuple[Meta, ...]
    differing: Mapping[str, tuple[str, ...]]
    """Path in the spec -> its value in each setting, of the fields that differ."""
    left_out: tuple[str, ...]
    """Evaluations that only some of the runs have."""
    level: float
    budgets: tuple[Budget, ...] = ()
    """The budget of each setting until it was measured."""

    @property
    def budget_warning(self) -> str | None:
        """A warning where the settings had unequal budgets; None where they had not."""
        return warning([setting.name for setting in self.settings], self.budgets)

    def score(self, setting: str, label: str) -> Score:
        """The score of one setting by one measure."""
        return next(s for s in self.scores if (s.setting, s.label) == (setting, label))

    def pair(self, label: str, first: str, second: str) -> Pair:
        """The comparison of two settings by one measure, as first less second in their order in the comparison."""
        return next(p for p in self.pairs if p.label == label and {p.first, p.second} == {first, second})

    def to_json(self) -> dict[str, object]:
        """Everything in values that JSON can hold."""
        return {name: _plain(value) for name, value in self._asdict().items()}


@singledispatch
def _plain(value: object) -> object:
    """Records as mappings by field, and what they hold likewise."""
    return value


@_plain.register(Mapping)
def _(value: Mapping[object, object]) -> object:
    return {str(key): _plain(inner) for key, inner in value.items()}


@_plain.register(list)
@_plain.register(tuple)
def _(value: Sequence[object]) -> object:
    inside = [_plain(inner) for inner in value]
    fields = getattr(value, "_fields", None)  # of a named tuple
    return inside if fields is None else dict(zip(fields, inside, strict=True))
