"""`sslkit compare`: statistical comparison of runs."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sslkit.errors import SpecError

if TYPE_CHECKING:
    from rich.table import Table

    from sslkit.analysis.compare.comparison_table import Comparison, Measure, Meta, Pair, Score

WIDTH = 160
"""Columns where the output is no terminal."""
SHOWN = 20
"""Differing fields that are printed; the JSON file has all."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`."""
    add = parser.add_argument
    add(
        "run_dirs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="run folders; those that differ in the seed are one",
    )
    add("--evaluator", action="append", default=[], metavar="LABEL",
        help="compare this evaluation only; may be given again")  # fmt: skip
    add("--step", type=int, help="compare evaluations of this step; default: the last of each run")
    add("--level", type=float, default=0.95, help="confidence level; default 0.95")
    add("--pair-seeds", action="store_true", help="all settings have the same seeds: use the paired t-test")
    add("--seed", type=int, default=0, help="of the bootstrap; default 0")
    add("--json", type=Path, metavar="FILE", help="write everything that is known")
    add("--html", type=Path, metavar="FILE", help="write a page with curves, pictures and all tests")


def execute(args: argparse.Namespace) -> int:
    """Compare the stored evaluations and print what they show."""
    from sslkit.analysis.compare.compare_runs import compare
    from sslkit.runtime.atomic_files import write_json

    if args.json and args.json.is_dir():
        raise SpecError(f"--json: {args.json} is a folder; give the name of a file")
    comparison = compare(args.run_dirs, args.evaluator, args.step, args.level, args.pair_seeds, args.seed)
    _show(comparison)
    if args.json:
        write_json(args.json, comparison.to_json())
        print(f"written: {args.json}")
    if args.html:
        from sslkit.report.comparison_report import report_comparison

        print(f"written: {report_comparison(comparison, args.html)}")
    return 0


def _show(comparison: Comparison) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True, markup=False)
    if not console.is_terminal:
        console.width = WIDTH  # a file has no edge
    console.print(_budgets(comparison))
    if comparison.budget_warning:
        console.print(comparison.budget_warning)
    console.print(_scores(comparison))
    if comparison.differing:
        console.print(_fields(comparison))
    for measure in comparison.measures if comparison.pairs else ():
        pairs = [pair for pair in comparison.pairs if pair.label == measure.label]
        if any(pair.difference for pair in pairs):
            console.print(_matrix(comparison, measure))
        for line in dict.fromkeys(_verdicts(pairs)):
            console.print(line)
    for meta in comparison.meta:
        console.print(_ranks(comparison, meta))
    for line in _notes(comparison):
        console.print(line)


def _table(title: str, *headings: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="right" if i > 1 else "left", overflow="fold")
    return table


def _budgets(comparison: Comparison) -> Table:
    """What each setting was given."""
    from sslkit.runs.budget import TITLES, shown, text_of

    names = shown(comparison.budgets)
    table = _table("Budgets", "", "setting", *(TITLES[name] for name in names))
    for number, (setting, budget) in enumerate(
        zip(comparison.settings, comparison.budgets, strict=True), start=1
    ):
        cells = [text_of(name, getattr(budget, name)) for name in names]
        table.add_row(str(number), setting.name, *cells)
    return table


def _scores(comparison: Comparison) -> Table:
    """Each setting's value by each measure, with its interval."""
    labels = [f"{m.label} ({_short(m.protocol)}){_direction(m)}" for m in comparison.measures]
    table = _table(f"Scores, {100 * comparison.level:g} % intervals", "", "setting", "runs", *labels)
    for number, setting in enumerate(comparison.settings, start=1):
        cells = [_score(comparison.score(setting.name, m.label), m) for m in comparison.measures]
        table.add_row(str(number), setting.name, str(len(setting.runs)), *cells)
    return table


def _direction(measure: Measure) -> str:
    """Said where it is not the usual one."""
    return ", lower is better" if measure.better == "lower" else ""


def _short(protocol: str) -> str:
    """The name and version; of changed settings, which may be many, only that there are some."""
    name, _, changed = protocol.partition("(")
    return f"{name}*" if changed else name


def _score(score: Score, measure: Measure) -> str:
    std = "" if score.seeds.std is None else f" ± {number(score.seeds.std, measure)}"
    bounds = ""
    if score.low is not None and score.high is not None:
        bounds = f" [{number(score.low, measure)}, {number(score.high, measure)}]"
    return f"{number(score.seeds.mean, measure)}{std}{bounds}"


def number(value: float, measure: Measure) -> str:
    """An accuracy in percent, anything else as it is."""
    return f"{100 * value:.2f}" if measure.accuracy else f"{value:.4g}"


def _fields(comparison: Comparison) -> Table:
    """What the settings differ in."""
    table = _table("Fields that differ", "", "field", *(setting.name for setting in comparison.settings))
    for path, values in list(comparison.differing.items())[:SHOWN]:
        table.add_row("", path, *values)
    return table


def _matrix(comparison: Comparison, measure: Measure) -> Table:
    """Row less column, with Holm's p-value; a star where it is significant."""
    numbers = [str(i + 1) for i in range(len(comparison.settings))]
    table = _table(
        f"{measure.label}, {measure.metric}{_direction(measure)}: row less column", "", "setting", *numbers
    )
    for mark, row in zip(numbers, comparison.settings, strict=True):
        cells = [
            ""
            if row == column
            else _cell(comparison.pair(measure.label, row.name, column.name), row.name, measure)
            for column in comparison.settings
        ]
        table.add_row(mark, row.name, *cells)
    return table


def _cell(pair: Pair, row: str, measure: Measure) -> str:
    from sslkit.statistics import p_text

    if pair.difference is None or pair.p is None:
        return "not tested"
    estimate = pair.difference.estimate * (1 if pair.first == row else -1)
    sign = "+" if estimate > 0 else ""
    return f"{sign}{number(estimate, measure)}, {p_text(pair.p)}{' *' * pair.significant}"


def _verdicts(pairs: Sequence[Pair]) -> Iterator[str]:
    for pair in pairs:
        names = "" if pair.significant else f"{pair.first} and {pair.second}: "
        yield f"  {names}{pair.verdict}" if pair.difference else f"  {pair.label}: {pair.verdict}"


def _ranks(comparison: Comparison, meta: Meta) -> Table:
    """Average ranks, and wins, ties and losses against each setting."""
    from sslkit import statistics
    from sslkit.statistics import p_text

    title = f"{meta.protocol} on {len(meta.labels)} data sets ({', '.join(meta.labels)}): wins-ties-losses"
    if meta.ranking is not None:
        title += f"; Friedman {p_text(meta.ranking.p)}, "
        apart = f"ranks {meta.ranking.critical_difference:.2f} apart differ (Nemenyi)"
        title += apart if meta.ranking.p <= 1 - comparison.level else statistics.NONE
    rank = ["average rank"] if meta.ranking is not None else []
    table = _table(title, "", "setting", *rank, *(str(i + 1) for i in range(len(comparison.settings))))
    for i, row in enumerate(comparison.settings):
        ranks = [f"{meta.ranking.ranks[i]:.2f}"] if meta.ranking is not None else []
        against = [
            "" if row == column else "-".join(map(str, meta.wins[row.name][column.name]))
            for column in comparison.settings
        ]
        table.add_row(str(i + 1), row.name, *ranks, *against)
    return table


def _notes(comparison: Comparison) -> Iterator[str]:
    """What a reader must know to read the tables rightly."""
    for measure in comparison.measures:
        if _short(measure.protocol) != measure.protocol:
            yield f"* {measure.label}: {measure.protocol}"
    methods = [pair.difference.method for pair in comparison.pairs if pair.difference is not None]
    tested = len(methods)
    if tested:
        adjusted = f"; p-values are adjusted for all {tested} comparisons (Holm)" * (tested > 1)
        yield f"Tests: {'; '.join(dict.fromkeys(methods))}{adjusted}."
    if tested and any(len(setting.runs) == 1 for setting in comparison.settings):
        yield (
            "Settings of one run: the tests tell networks apart, not methods, for another seed "
            "might reverse them. Train several seeds."
        )
    if len(comparison.differing) > SHOWN:
        yield f"{len(comparison.differing) - SHOWN} more fields differ; --json writes all."
    if comparison.left_out:
        yield f"Left out, as only some runs have them: {', '.join(comparison.left_out)}."
