"""`sslkit sweep`: a grid of runs, and one table."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sslkit.analysis.sweep.run_cells import CellShare, Ended
    from sslkit.analysis.sweep.sweep_table import SweepTable
    from sslkit.specs.sweep import Cell, Grid

WIDTH = 160
"""Columns where the output is no terminal."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to `parser`."""
    add = parser.add_argument
    add("spec", type=Path, metavar="SPEC.yaml", help="a spec, or a sweep with `base`, `rows` and `axes`")
    add("axes", nargs="*", metavar="key.path=v1,v2,...", help="values to try, in every combination; YAML")
    add("--set", action="append", default=[], metavar="key.path=value",
        help="a change of every run, after all others and in no name; may be given again")  # fmt: skip
    add("--out", type=Path, metavar="DIR", help="where the run folders and the table go; default: runs/NAME")
    add("--index", type=int, metavar="I", help="make every N-th cell only, from the I-th on, counted from 0")
    add("--of", type=int, metavar="N", help="how many workers share the cells")
    add("--table", type=Path, metavar="FILE", help="also write the table, as .csv, .json or .md")
    add("--stop-on-error", action="store_true", help="begin no other cell after one has failed")
    add("--list", action="store_true", help="print the cells and run none")


def execute(args: argparse.Namespace) -> int:
    """Run the cells that are this worker's, and print the table of all that are finished."""
    plan = _grid(args)
    from sslkit.analysis.sweep.cells import require_format, require_own_folders
    from sslkit.analysis.sweep.run_cells import Stop, run_cells, share_of, together
    from sslkit.runtime.signals import exit_code

    if args.table is not None:
        require_format(args.table)
    share = share_of(os.environ, args.index, args.of)
    require_own_folders(plan.cells)
    if args.list:
        return _list(plan, share)
    _say(
        f"{plan.name}: {len(plan.cells)} cell{'s' * (len(plan.cells) > 1)} in {plan.folder}" + _shared(share)
    )
    with Stop() as stop:
        ended = run_cells(plan, share, stop, _say, args.stop_on_error)
    ended = together(share, ended)
    if share.rank == 0:
        _tell(plan, share, ended, args.table, stop.signal)
    if stop.signal is not None:
        return exit_code(stop.signal)
    return 2 if any(one.state == "failed" for one in ended) else 0


def _tell(
    plan: Grid, share: CellShare, ended: Sequence[Ended], copy: Path | None, signal: str | None
) -> None:
    """Write and print the table. It needs torch, which a sweep that watches its cells does not."""
    from sslkit.analysis.sweep.run_cells import write_results
    from sslkit.analysis.sweep.sweep_table import export_table

    results = write_results(plan, ended)
    _show(results)
    if copy is not None:
        export_table(results, copy)
    _close(results, ended, signal, _others(plan, share))


def _grid(args: argparse.Namespace) -> Grid:
    """Every cell, validated before torch is imported."""
    from sslkit.registry.manager import registry
    from sslkit.specs.load import read_assignments
    from sslkit.specs.sweep import grid, read_axes, read_sweep_spec

    spec = read_sweep_spec(args.spec)
    update = {"axes": {**spec.axes, **read_axes(args.axes)}, "out": args.out or spec.out}
    return grid(spec.model_copy(update=update), registry().absences, read_assignments(args.set))


def _shared(share: CellShare) -> str:
    return f", share {share.first} of {share.of}" if share.of > 1 else ""


def _others(plan: Grid, share: CellShare) -> frozenset[str]:
    """Cells that fall to other commands; `share` is that of the first rank of this one."""
    mine = range(share.first, share.first + share.ranks)
    return frozenset(cell.name for i, cell in enumerate(plan.cells) if i % share.of not in mine)


def _list(plan: Grid, share: CellShare) -> int:
    from sslkit.analysis.sweep.cells import is_finished

    mine: Sequence[Cell] = plan.cells[share.first :: share.of]
    for cell in mine:
        print(f"{cell.name}  {'finished' if is_finished(cell) else 'to do'}")
    return 0


def _show(results: SweepTable) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from sslkit.analysis.sweep.sweep_table import cells

    if not results.lines:
        return
    console = Console(highlight=False, soft_wrap=True, markup=False)
    if not console.is_terminal:
        console.width = WIDTH  # a file has no edge
    head, *rows = cells(results)
    shown = Table(title=f"{results.name}: mean ± deviation [95 % interval] over seeds", title_justify="left",
                  box=box.SIMPLE_HEAD)  # fmt: skip
    for i, heading in enumerate(head):
        shown.add_column(heading, justify="right" if i else "left", overflow="fold")
    for row in rows:
        shown.add_row(*row)
    console.print(shown)


def _close(results: SweepTable, ended: Sequence[Ended], signal: str | None, others: frozenset[str]) -> None:
    """What is done, what is not, and what to do about it."""
    from sslkit.analysis.sweep.sweep_table import CSV, JSON

    for one in ended:
        if one.state == "failed":
            print(f"failed: {one.name}: {one.reason}", file=sys.stderr, flush=True)
    total = len(results.runs) + len(results.missing)
    _say(f"{len(results.runs)} of {total} cells are finished; written: {JSON} and {CSV}")
    if signal is not None:
        _say(f"stopped by {signal}; everything is saved, and the same command goes on")
    elif others.issuperset(results.missing) and results.missing:
        _say("those that are not are of other shares, whose workers make them")
    elif results.missing:
        _say("the same command makes those that are not" + ", as far as they are of its share" * bool(others))


def _say(text: str) -> None:
    print(text, flush=True)
