"""`sslkit scaling`: scaling laws of size, data and compute from the results of a sweep."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sslkit.errors import SpecError

if TYPE_CHECKING:
    from rich.console import Console

    from sslkit.analysis.scaling.fit_report import Report

FORMATS = (".png", ".pdf", ".svg")
"""Endings of figures."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`."""
    add = parser.add_argument
    add("results", nargs="+", type=Path, metavar="RESULTS", help="run folders, or tables in .csv or .json")
    add("--x", default="parameters", metavar="NAME", help="parameters, images, tokens, flops or a column")
    add("--y", default="loss", metavar="NAME", help="loss, or a metric such as eval/knn/accuracy")
    add("--as", dest="reading", choices=("value", "error"), default="value", help="error fits 1 - y")
    add("--joint", action="store_true", help="the law of parameters and images together")
    add("--extrapolate", action="append", default=[], type=float, metavar="X",
        help="predict y at X, or with --joint the best use of X FLOPs; may be given again")  # fmt: skip
    add("--emergence", action="store_true", help="also test for a break and a sigmoid")
    add("--over", choices=("residuals", "points"), default="residuals", help="what the bootstrap resamples")
    add("--resamples", type=int, default=1000, metavar="N", help="of the bootstrap; default 1000")
    add("--seed", type=int, default=0, help="of the bootstrap; default 0")
    add("--json", type=Path, metavar="FILE", help="write the numbers")
    add("--figure", type=Path, metavar="FILE", help="draw the law, as .png, .pdf or .svg")


def execute(args: argparse.Namespace) -> int:
    """Fit, print, and write what was asked for."""
    from sslkit.analysis.scaling.analyze import Question, analyze
    from sslkit.analysis.scaling.fit_report import as_json
    from sslkit.analysis.scaling.sweep_results import read_sweep
    from sslkit.runtime.atomic_files import write_json

    _require_drawable(args.figure)
    fields = {name: getattr(args, name) for name in Question._fields}
    report = analyze(read_sweep(args.results), Question(**fields))
    _show(report)
    if args.json:
        write_json(args.json, as_json(report))
        print(f"written: {args.json}")
    if args.figure:
        _draw(args.figure, report, args.extrapolate)
        print(f"written: {args.figure}")
    return 0


def _show(report: Report) -> None:
    """Print the report; warnings go to standard error."""
    from rich.console import Console

    from sslkit.analysis.scaling import fit_report as text

    console = Console(highlight=False, soft_wrap=True, markup=False)
    if not console.is_terminal:
        console.width = 160  # a file has no edge
    console.print(text.title(report))
    _table(console, ["", "estimate", "95 % interval"], [list(row) for row in text.parameters(report.law)])
    for fact in text.facts(report):
        console.print(fact)
    if report.predictions:
        _table(console, text.columns(report), list(text.predicted(report)))
    for warning in text.warnings(report):
        print(f"warning: {warning}", file=sys.stderr)


def _table(console: Console, headings: list[str], rows: list[list[str]]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(*headings, box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _require_drawable(path: Path | None) -> None:
    """Refuse a figure of an unknown format before the work, not after it."""
    if path is not None and path.suffix not in FORMATS:
        raise SpecError(f"--figure: {path} must end in {', '.join(FORMATS)}")


def _draw(path: Path, report: Report, extrapolate: list[float]) -> None:
    from sslkit.analysis.scaling.law_figure import draw_law
    from sslkit.runtime.atomic_files import draw_whole

    draw_whole(path, lambda file: draw_law(report.law, file, *report.names, extrapolate))
