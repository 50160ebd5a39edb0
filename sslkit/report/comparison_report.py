"""HTML report of several runs (`sslkit compare --html`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from sslkit.analysis.compare.comparison_table import Comparison, Measure, Meta, Pair, Score
from sslkit.report.page.charts import number
from sslkit.report.page.html import Child, Html, folded, join, note, table, tag
from sslkit.report.page.html_page import Head, Section, page, write_page
from sslkit.report.run_data import RunData, read_run
from sslkit.report.sections import curves, run_pictures, scores, structure
from sslkit.runs import budget
from sslkit.statistics import NONE, p_text

ALONE = (
    "Settings of one run: the tests tell networks apart, not methods, for another seed might reverse them. "
    "Train several seeds."
)
HOW = {
    "significance": "for two settings or more",
    "datasets": "for one protocol on two data sets or more",
    "protocols": "add `{kind: knn}` to `evaluate`",
    "differing": "the specs are the same",
    "training": "nothing is recorded",
    "geometry": "add `{kind: geometry}` to `evaluate`",
    "reconstructions": "for objectives that show pictures, such as `mae`",
}
"""How a reader gets a section that is not there."""
SHOWN = 12
"""Differing fields that are shown at once; more are folded."""


def report_comparison(comparison: Comparison, out: str | Path) -> Path:
    """Write one HTML file about compared runs, that needs nothing else; returns its path.

    Of a setting with several seeds, curves and pictures are those of its first run.

    Args:
        comparison: the result of `compare`.
        out: the file.

    Raises:
        CheckpointError: a folder holds no run, or a file is damaged.
    """
    runs = {setting.name: read_run(Path(setting.runs[0])) for setting in comparison.settings}
    named = {name: _named(run, name) for name, run in runs.items()}
    return write_page(Path(out), page(_head(comparison), _sections(comparison, named)))


def _named(run: RunData, name: str) -> RunData:
    """The run under the name of its setting."""
    return run._replace(lock={**run.lock, "spec": {**run.lock["spec"], "name": name}})


def _head(comparison: Comparison) -> Head:
    verdicts = [_verdict(pair) for pair in comparison.pairs if pair.significant]
    tested = [pair for pair in comparison.pairs if pair.difference is not None]
    if tested and not verdicts:
        verdicts = [f"{NONE[0].upper()}{NONE[1:]} between any two settings."]
    counted = sum(len(setting.runs) for setting in comparison.settings)
    key_facts = [
        ("Settings", str(len(comparison.settings))),
        ("Runs", str(counted)),
        ("Evaluations", ", ".join(measure.label for measure in comparison.measures)),
        ("Tests", str(len(tested))),
    ]
    text = comparison.budget_warning
    lines = [*([text] if text else []), *verdicts[:3]]
    title = " · ".join(setting.name for setting in comparison.settings[:4])
    return Head(title + (" …" if len(comparison.settings) > 4 else ""), "Comparison", lines, key_facts)


def _sections(comparison: Comparison, runs: dict[str, RunData]) -> list[Section]:
    each = list(runs.values())
    sections: dict[str, tuple[str, Callable[[], Html | None]]] = {
        "budgets": ("Budgets", lambda: _budgets(comparison)),
        "scores": ("Scores", lambda: _scores(comparison)),
        "significance": ("Significance", lambda: _significance(comparison)),
        "datasets": ("Over data sets", lambda: _metas(comparison)),
        "protocols": ("Protocols", lambda: scores.radar(runs, False)),
        "differing": ("What differs", lambda: _differing(comparison)),
        "training": ("Training", lambda: curves.training(each)),
        "geometry": ("Geometry", lambda: structure.geometry(runs)),
        "reconstructions": ("Held-out images", lambda: run_pictures.reconstructions(runs)),
    }
    return [Section(key, title, make, HOW.get(key, "")) for key, (title, make) in sections.items()]


def _budgets(comparison: Comparison) -> Html:
    """The budget of each setting, and a warning where they differ."""
    names = budget.shown(comparison.budgets)
    rows: Iterable[list[Child]] = (
        [setting.name, *(budget.text_of(name, getattr(each, name)) for name in names)]
        for setting, each in zip(comparison.settings, comparison.budgets, strict=True)
    )
    headings = ["Setting", *(budget.TITLES[name] for name in names)]
    shown = table("What each setting was given until it was measured", headings, rows)
    text = comparison.budget_warning or "The budgets are the same."
    return Html(shown + note(text)) if len(comparison.settings) > 1 else shown


def _scores(comparison: Comparison) -> Html:
    headings = ["Setting", "Runs", *map(heading, comparison.measures)]
    rows: Iterable[list[Child]] = (
        [s.name, len(s.runs), *(_score(comparison.score(s.name, m.label), m) for m in comparison.measures)]
        for s in comparison.settings
    )
    ways = dict.fromkeys(score.method for score in comparison.scores if score.method)
    intervals = (
        f"Intervals of {100 * comparison.level:g} %: {'; '.join(ways)}."
        if ways
        else "Nothing here has an interval."
    )
    left = f" Only some runs have: {', '.join(comparison.left_out)}." if comparison.left_out else ""
    return Html(table("Scores with their intervals", headings, rows) + note(intervals + left))


def _score(score: Score, measure: Measure) -> Html:
    bounds = None
    if score.low is not None and score.high is not None:
        bounds = tag("small", f"[{value(score.low, measure)}, {value(score.high, measure)}]")
    std = "" if score.seeds.std is None else f" ± {value(score.seeds.std, measure)}"
    return join([tag("strong", value(score.seeds.mean, measure)), std, " ", bounds])


def value(score: float, measure: Measure) -> str:
    """An accuracy in percent, anything else as it is."""
    return f"{100 * score:.2f}" if measure.accuracy else number(score)


def _significance(comparison: Comparison) -> Html | None:
    """A matrix for each measure, and the verdict on each pair."""
    if not comparison.pairs:
        return None
    blocks = [block for measure in comparison.measures for block in _matrix(comparison, measure)]
    methods = dict.fromkeys(
        pair.difference.method for pair in comparison.pairs if pair.difference is not None
    )
    tested = sum(pair.difference is not None for pair in comparison.pairs)
    sentences = [f"Tests: {'; '.join(methods)}."] if methods else []
    sentences += [f"p-values are adjusted for all {tested} comparisons (Holm)."] if tested > 1 else []
    sentences += [ALONE] if any(len(setting.runs) == 1 for setting in comparison.settings) else []
    return Html(join(blocks) + note(" ".join(sentences)))


def _matrix(comparison: Comparison, measure: Measure) -> Iterator[Html]:
    pairs = [pair for pair in comparison.pairs if pair.label == measure.label]
    names = [setting.name for setting in comparison.settings]
    if any(pair.difference for pair in pairs):
        unit = ", in points" if measure.accuracy else ""
        rows = ([row, *(_cell(comparison, measure, row, column) for column in names)] for row in names)
        yield table(f"{heading(measure)}: row less column{unit}", ["", *names], rows)
    yield tag(
        "ul", (tag("li", verdict) for verdict in dict.fromkeys(map(_verdict, pairs))), class_="verdicts"
    )


def _verdict(pair: Pair) -> str:
    if pair.significant or pair.difference is None:
        return f"{pair.label}: {pair.verdict}"
    exact = "" if pair.p is None else f" ({p_text(pair.p)})"
    return f"{pair.label}: {pair.first} and {pair.second}: {pair.verdict}{exact}"


def _cell(comparison: Comparison, measure: Measure, row: str, column: str) -> Html:
    if row == column:
        return tag("span", "–", class_="none")
    pair = comparison.pair(measure.label, row, column)
    if pair.difference is None or pair.p is None:
        return Html("not tested")
    estimate = pair.difference.estimate * (1 if pair.first == row else -1)
    word, kind = _standing(estimate, pair.significant, measure)
    shown = f"{'+' if estimate > 0 else ''}{value(estimate, measure)}"
    return tag("span", tag("strong", shown), tag("small", f"{p_text(pair.p)}, {word}"), class_=f"cell {kind}")


def _standing(estimate: float, significant: bool, measure: Measure) -> tuple[str, str]:
    """The word for a difference, and its class on the page."""
    if not significant:
        return NONE, "same"
    if measure.better is None:
        return ("higher" if estimate > 0 else "lower"), "other"
    word = "better" if (estimate > 0) == (measure.better == "higher") else "worse"
    return word, word


def heading(measure: Measure) -> str:
    """Evaluation and metric, and where lower is better that it is."""
    note = " (lower is better)" if measure.better == "lower" else ""
    return f"{measure.label} {measure.metric.replace('_', ' ')}{note}"


def _metas(comparison: Comparison) -> Html | None:
    return join([_meta(comparison, meta) for meta in comparison.meta]) if comparison.meta else None


def _meta(comparison: Comparison, meta: Meta) -> Html:
    """Average ranks, and wins, ties and losses."""
    names = [setting.name for setting in comparison.settings]
    ranks = [] if meta.ranking is None else ["Average rank"]
    rows = (
        [row, *(() if meta.ranking is None else (f"{meta.ranking.ranks[i]:.2f}",)),
         *("–" if row == column else "-".join(map(str, meta.wins[row][column])) for column in names)]
        for i, row in enumerate(names)
    )  # fmt: skip
    wins = table(f"{meta.protocol} on {', '.join(meta.labels)}: wins-ties-losses", ["", *ranks, *names], rows)
    if meta.ranking is None:
        return wins
    apart = f"ranks {meta.ranking.critical_difference:.2f} apart differ (Nemenyi)"
    verdict = apart if meta.ranking.p <= 1 - comparison.level else NONE
    return Html(wins + note(f"Friedman {p_text(meta.ranking.p)}: {verdict}."))


def _differing(comparison: Comparison) -> Html | None:
    names = [setting.name for setting in comparison.settings]
    rows: list[list[Child]] = [[tag("code", path), *values] for path, values in comparison.differing.items()]

    def shown(title: str, part: list[list[Child]]) -> Html:
        return table(title, ["Field", *names], part, tuple(range(len(names) + 1)))

    if not rows:
        return None
    first = shown("Fields of the spec that are not the same", rows[:SHOWN])
    rest = rows[SHOWN:]
    return Html(first + (folded(f"{len(rest)} more", shown("Further fields", rest)) if rest else ""))
