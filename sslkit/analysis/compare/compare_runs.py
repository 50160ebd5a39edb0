"""Comparison of runs by their stored evaluations: intervals, significance tests, and ranks over data sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sslkit import statistics
from sslkit.analysis.compare.comparison_table import Comparison, Measure, Meta, Pair, Score, Setting
from sslkit.analysis.compare.run_groups import (
    Entry,
    Group,
    common_labels,
    differing,
    grouped,
    read_entries,
    require_comparable,
    require_one_step,
)
from sslkit.errors import SpecError
from sslkit.runs.budget import Budget, budget_of, mean_budget
from sslkit.specs.metrics import Better
from sslkit.statistics import Difference, McNemar

UNTESTED = "not tested: one run each, and no predictions behind the metric"


def compare(
    run_dirs: Sequence[str | Path],
    evaluators: Sequence[str] = (),
    step: int | None = None,
    level: float = 0.95,
    pair_seeds: bool = False,
    seed: int = 0,
) -> Comparison:
    """Compare finished or stopped runs by their stored evaluations; nothing is evaluated anew.

    Runs that differ only in their seed are one setting. Two single runs are compared on their images: McNemar's
    p-value and the interval of a paired bootstrap. Several seeds are compared by a t-test: Welch's, paired with
    `pair_seeds`, or with one variance where one of the settings has a single seed. Holm's method adjusts the
    p-values of all pairs and measures together.

    Args:
        run_dirs: the run folders.
        evaluators: labels of the evaluations to compare. Default: all that every run has.
        step: compare evaluations of this step. Default: the last of each.
        level: confidence level of intervals; 1 - level is that of tests.
        pair_seeds: settings have the same seeds, which pair up. To be chosen before one has seen results.
        seed: of the bootstrap.

    Raises:
        SpecError: runs were measured differently, appear twice, or lack what is asked for.
        CheckpointError: a folder holds no run or no evaluations.
        DataError: a metric is no finite number.
    """
    if seed < 0:
        raise SpecError(f"seed: must be 0 or more, got {seed}")
    entries = read_entries([Path(path) for path in run_dirs], step)
    labels, left_out = common_labels(entries, evaluators)
    groups = grouped(entries)
    for label in labels:
        require_comparable(entries, label)
        for group in groups:
            require_one_step(group, label)
    if pair_seeds:
        _require_same_seeds(groups)
    measures = tuple(_measure(entries, label) for label in labels)
    scores = tuple(_score(group, measure, level) for measure in measures for group in groups)
    how = _How(level, pair_seeds, seed)
    tested = [_pair(m, a, b, how) for m in measures for a, b in combinations(groups, 2)]
    pairs = _adjusted(tested, measures)
    settings = tuple(_setting(group) for group in groups)
    metas = tuple(_metas(settings, measures, scores, pairs, level))
    budgets = tuple(_budget(group, labels) for group in groups)
    return Comparison(
        settings, measures, scores, pairs, metas, differing(groups), tuple(left_out), level, budgets
    )


def _budget(group: Group, labels: Sequence[str]) -> Budget:
    """Until the last of the compared evaluations."""
    return mean_budget(
        [
            budget_of(
                entry.run_dir,
                {"spec": entry.spec, "resolved": entry.resolved},
                max(entry.results[label].step for label in labels),
            )
            for entry in group.entries
        ]
    )


class _How(NamedTuple):
    """How pairs are tested."""

    level: float
    pair_seeds: bool
    seed: int


def _require_same_seeds(groups: Sequence[Group]) -> None:
    for group in groups[1:]:
        mine, theirs = (_seeds(g) for g in (groups[0], group))
        if mine != theirs or len(mine) < 2:
            raise SpecError(
                f"--pair-seeds: all settings need the same seeds, at least two; {groups[0].name} has "
                f"{', '.join(map(str, mine))} and {group.name} {', '.join(map(str, theirs))}"
            )


def _seeds(group: Group) -> tuple[int, ...]:
    return tuple(entry.seed for entry in group.entries)


def _setting(group: Group) -> Setting:
    return Setting(group.name, tuple(str(entry.run_dir) for entry in group.entries), _seeds(group))


def _measure(entries: Sequence[Entry], label: str) -> Measure:
    evaluation, correct = entries[0].results[label], [entry.correct(label) for entry in entries]
    data = evaluation.data.get("test", {}).get("fingerprint")
    accuracy = correct[0] is not None and all(right is not None for right in correct)
    images = len(correct[0]) if accuracy and correct[0] is not None else None
    better: Better | None = "higher" if accuracy else _better(entries, label)
    return Measure(label, evaluation.protocol, evaluation.headline, accuracy, images, data, better)


def _better(entries: Sequence[Entry], label: str) -> Better | None:
    """The direction that all runs declare; those of a plugin that has since declared it may differ."""
    each = {entry.results[label].headline_better for entry in entries}
    return each.pop() if len(each) == 1 else None


def _values(group: Group, label: str) -> list[float]:
    return [entry.headline(label) for entry in group.entries]


def _correct(group: Group, measure: Measure) -> NDArray[np.bool_] | None:
    """`[N]` of the one run of `group`; None where there are several, or no predictions behind the headline."""
    lone = measure.accuracy and len(group.entries) == 1
    return group.entries[0].correct(measure.label) if lone else None


def _score(group: Group, measure: Measure, level: float) -> Score:
    values, label = _values(group, measure.label), measure.label
    seeds, correct = statistics.seed_summary(values, level), _correct(group, measure)
    bounds: tuple[float | None, float | None, str | None] = (None, None, None)
    if correct is not None:
        interval = statistics.accuracy_interval(correct, level)
        bounds = (interval.low, interval.high, f"{interval.method}, over images")
    elif seeds.low is not None:
        bounds = (seeds.low, seeds.high, "t, over seeds")
    return Score(group.name, label, tuple(values), group.entries[0].results[label].step, seeds, *bounds)


def _pair(measure: Measure, first: Group, second: Group, how: _How) -> Pair:
    """Two settings before the correction for many comparisons."""
    one, two = (_correct(group, measure) for group in (first, second))
    if one is not None and two is not None:
        difference, mcnemar, effects = _by_images(one, two, how)
        return _untested(measure, first, second)._replace(
            difference=difference, mcnemar=mcnemar, effects=effects, p=difference.p
        )
    if len(first.entries) + len(second.entries) < 3:
        return _untested(measure, first, second)
    a, b = (_values(group, measure.label) for group in (first, second))
    difference = _by_seeds(a, b, how)
    effects = {"cohens_d": statistics.cohens_d(a, b)}
    return _untested(measure, first, second)._replace(difference=difference, effects=effects, p=difference.p)


def _untested(measure: Measure, first: Group, second: Group) -> Pair:
    return Pair(measure.label, first.name, second.name, None, None, {}, None, False, UNTESTED)


def _by_images(
    one: NDArray[np.bool_], two: NDArray[np.bool_], how: _How
) -> tuple[Difference, McNemar, dict[str, float | None]]:
    """McNemar's p-value with the interval of the paired bootstrap, and effect sizes."""
    mcnemar = statistics.mcnemar(one, two)
    bootstrap = statistics.paired_bootstrap(one, two, how.level, how.seed)
    effects: dict[str, float | None] = {
        "cohens_h": statistics.cohens_h(float(one.mean()), float(two.mean())),
        "cohens_g": statistics.cohens_g(mcnemar.only_first, mcnemar.only_second),
        "odds_ratio": statistics.odds_ratio(mcnemar.only_first, mcnemar.only_second),
    }
    method = "McNemar, with the interval of a paired bootstrap"
    return bootstrap._replace(p=mcnemar.p, method=method), mcnemar, effects


def _by_seeds(a: list[float], b: list[float], how: _How) -> Difference:
    if how.pair_seeds:
        return statistics.paired_t(a, b, how.level)
    test = statistics.pooled_t if min(len(a), len(b)) == 1 else statistics.welch_t
    return test(a, b, how.level)


def _adjusted(pairs: Sequence[Pair], measures: Sequence[Measure]) -> tuple[Pair, ...]:
    """The pairs with Holm's p-values and verdicts."""
    by_label = {measure.label: measure for measure in measures}
    p_values = iter(statistics.holm([pair.p for pair in pairs if pair.p is not None]))
    return tuple(
        pair
        if pair.difference is None
        else _with_verdict(pair, pair.difference, float(next(p_values)), by_label[pair.label])
        for pair in pairs
    )


def _with_verdict(pair: Pair, difference: Difference, p: float, measure: Measure) -> Pair:
    text = statistics.verdict(
        pair.first, pair.second, difference, p, points=measure.accuracy, better=measure.better
    )
    return pair._replace(p=p, significant=statistics.significant(difference, p), verdict=text)


def _metas(
    settings: Sequence[Setting],
    measures: Sequence[Measure],
    scores: Sequence[Score],
    pairs: Sequence[Pair],
    level: float,
) -> Iterator[Meta]:
    """Each protocol with an accuracy on two data sets or more; of one data set the first evaluation counts."""
    for protocol in dict.fromkeys(m.protocol for m in measures if m.accuracy):
        by_data: dict[str | None, str] = {}
        for measure in measures:
            if measure.accuracy and measure.protocol == protocol:
                by_data.setdefault(measure.test_data, measure.label)
        labels = tuple(by_data.values())
        if len(labels) < 2 or len(settings) < 2:
            continue
        means = {(score.setting, score.label): score.seeds.mean for score in scores}
        table = [[means[setting.name, label] for setting in settings] for label in labels]
        ranking = statistics.friedman(table, level) if len(settings) > 2 else None
        yield Meta(protocol, labels, ranking, _wins(settings, labels, table, pairs))


def _wins(
    settings: Sequence[Setting],
    labels: Sequence[str],
    table: Sequence[Sequence[float]],
    pairs: Sequence[Pair],
) -> dict[str, dict[str, tuple[int, int, int]]]:
    """Of each ordered pair; what is not significant ties."""
    names = [setting.name for setting in settings]
    ties = np.ones((len(labels), len(names), len(names)), dtype=bool)
    for pair in pairs:
        if pair.significant and pair.label in labels:
            i, j = names.index(pair.first), names.index(pair.second)
            ties[labels.index(pair.label), [i, j], [j, i]] = False
    counts = statistics.win_tie_loss(table, ties)
    return {
        a: {b: (int(w), int(t), int(x)) for b, (w, t, x) in zip(names, row, strict=True) if a != b}
        for a, row in zip(names, counts, strict=True)
    }
