"""Results table of a sweep: a row for each run, and for each setting the mean over its seeds."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sslkit.analysis.compare.run_groups import SPEED, leaves
from sslkit.analysis.scaling.sweep_results import read_run
from sslkit.analysis.sweep.cells import finished, require_format
from sslkit.runs.evaluations import evaluations, steps
from sslkit.runs.lock import read_lock
from sslkit.runs.metrics_log import read
from sslkit.runs.tokens_seen import tokens
from sslkit.runtime.atomic_files import write_json, write_text
from sslkit.specs.metrics import Better
from sslkit.specs.sweep import Cell, Grid
from sslkit.statistics import SeedSummary, seed_summary
from sslkit.train.cost.tokens import encoded

JSON, CSV = "sweep.json", "sweep.csv"
SEEDLESS = (*SPEED, "seed")
"""Fields of a run that make no other setting."""
AMOUNTS = ("images", "seconds", "compute", "conflict", "cosine")
"""Columns beside the metrics, where a setting has them."""


class Measured(NamedTuple):
    """One finished run."""

    cell: Cell
    values: Mapping[str, float]
    """Its quantities, by name: `parameters`, `images`, `tokens`, `flops`, `seconds`, `compute`, metrics."""


class Headline(NamedTuple):
    """A column of the table."""

    key: str
    """Name of the metric, as in `eval/knn/accuracy`."""
    title: str
    share: bool
    """Whether it is a share of images, shown in percent."""
    better: Better | None = None
    """The direction in which it is better; None where neither is, or where it is not known."""


class Line(NamedTuple):
    """One setting."""

    setting: str
    seeds: tuple[int, ...]
    """Of its finished runs."""
    runs: tuple[str, ...]
    """Their folders."""
    values: Mapping[str, tuple[float, ...]]
    """By seed, of what all of its runs have as finite numbers."""
    level: float

    def summary(self, key: str) -> SeedSummary | None:
        """Mean, deviation and interval over seeds; None where a run lacks it."""
        return seed_summary(self.values[key], self.level) if key in self.values else None


class SweepTable(NamedTuple):
    """The results of a sweep, as far as it has come."""

    name: str
    lines: tuple[Line, ...]
    headlines: tuple[Headline, ...]
    runs: tuple[Measured, ...]
    missing: tuple[str, ...]
    """Cells that are not finished."""
    failed: Mapping[str, str]
    """Those that failed, with the reason."""

    def to_json(self) -> dict[str, object]:
        """Settings with the mean, deviation and interval of all that their runs have, in values that JSON can hold."""
        return {
            "name": self.name,
            "finished": len(self.runs),
            "missing": list(self.missing),
            "failed": dict(self.failed),
            "headlines": [headline._asdict() for headline in self.headlines],
            "settings": [
                {
                    "setting": line.setting,
                    "seeds": list(line.seeds),
                    "runs": list(line.runs),
                    "metrics": {
                        key: {**seed_summary(values, line.level)._asdict(), "values": list(values)}
                        for key, values in line.values.items()
                    },
                }
                for line in self.lines
            ],
        }

    def to_csv(self) -> str:
        """A row for each finished run, which `sslkit scaling` reads."""
        rows = [_row(run) for run in self.runs]
        columns = dict.fromkeys(key for row in rows for key in row)
        text = io.StringIO()
        writer = csv.DictWriter(text, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def to_markdown(self) -> str:
        """The table, for a document."""
        head, *rows = cells(self)
        return "".join(f"| {' | '.join(line)} |\n" for line in [head, ["---"] * len(head), *rows])


def table(grid: Grid, failed: Mapping[str, str] | None = None, level: float = 0.95) -> SweepTable:
    """The table of the cells of `grid` that are finished."""
    done = [cell for cell in grid.cells if finished(cell)]
    runs = tuple(Measured(cell, _values(cell)) for cell in done)
    groups: dict[str, list[Measured]] = {}
    for run in runs:
        groups.setdefault(_setting(run.cell), []).append(run)
    lines = tuple(_line(sorted(group, key=lambda r: r.cell.spec.seed), level) for group in groups.values())
    missing = tuple(cell.name for cell in grid.cells if cell not in done)
    return SweepTable(grid.name, lines, _headlines(runs), runs, missing, dict(failed or {}))


def write_table(sweep: SweepTable, folder: Path) -> None:
    """Write `sweep.json` and `sweep.csv`."""
    write_json(folder / JSON, sweep.to_json())
    write_text(folder / CSV, sweep.to_csv())


def export_table(sweep: SweepTable, path: Path) -> None:
    """Write the table to `path`, as its ending says."""
    require_format(path)
    if path.suffix == ".json":
        write_json(path, sweep.to_json())
    else:
        write_text(path, sweep.to_csv() if path.suffix == ".csv" else sweep.to_markdown())


def cells(sweep: SweepTable) -> list[list[str]]:
    """The table for people, its headings first; amounts that no setting has are left out."""
    shown = [name for name in AMOUNTS if any(name in line.values for line in sweep.lines)]
    head = ["setting", "seeds", *(headline.title for headline in sweep.headlines), *map(_heading, shown)]
    rows = [
        [
            line.setting,
            str(len(line.seeds)),
            *(_scored(line.summary(headline.key), headline.share) for headline in sweep.headlines),
            *(_amount(line.summary(name), name) for name in shown),
        ]
        for line in sweep.lines
    ]
    return [head, *rows]


def _heading(name: str) -> str:
    return {"conflict": "steps in conflict", "compute": "tokens encoded"}.get(name, name)


def _scored(summary: SeedSummary | None, share: bool) -> str:
    """`mean ± deviation [low, high]`; shares in percent."""
    if summary is None:
        return "-"

    def text_of(value: float) -> str:
        return f"{100 * value:.2f}" if share else f"{value:.4g}"

    text = text_of(summary.mean)
    if summary.std is not None and summary.low is not None and summary.high is not None:
        text += f" ± {text_of(summary.std)} [{text_of(summary.low)}, {text_of(summary.high)}]"
    return text


def _amount(summary: SeedSummary | None, name: str) -> str:
    if summary is None:
        return "-"
    if name == "conflict":
        return f"{100 * summary.mean:.0f} %"
    return f"{summary.mean:.3f}" if name == "cosine" else f"{summary.mean:,.{int(name == 'seconds')}f}"


def _values(cell: Cell) -> dict[str, float]:
    run_dir = cell.spec.run_dir
    values = dict(read_run(run_dir).values)
    resolved = read_lock(run_dir)["resolved"]
    step = round(values["images"] / cell.spec.batch_size)
    mean = [{**one, "tokens_per_step": tokens(one, step) / step} for one in resolved["passes"]]
    values["compute"] = encoded(mean, resolved["plan"]) * step
    return {**values, **_conflict(run_dir)}


def _conflict(run_dir: Path) -> dict[str, float]:
    """Gradient conflict between the terms of a hybrid: mean cosine, and share of steps with one below 0."""
    records = read(run_dir)
    pairs = [
        [float(value) for key, value in entry.items() if _is_cosine(key) and value is not None]
        for entry in records
    ]
    cosines = [cosine for entry in pairs for cosine in entry]
    if not cosines:
        return {}
    below = [any(cosine < 0 for cosine in entry) for entry in pairs if entry]
    return {"cosine": math.fsum(cosines) / len(cosines), "conflict": sum(below) / len(below)}


def _is_cosine(key: str) -> bool:
    return key.startswith("balance/") and key.endswith("/cosine")


def _setting(cell: Cell) -> str:
    spec = {k: v for k, v in cell.spec.model_dump(mode="json").items() if k not in SEEDLESS}
    return repr(sorted(leaves(spec)))


def _line(group: Sequence[Measured], level: float) -> Line:
    first = group[0]
    keys = [key for key in first.values if all(math.isfinite(run.values.get(key, math.nan)) for run in group)]
    return Line(
        first.cell.setting,
        tuple(run.cell.spec.seed for run in group),
        tuple(str(run.cell.spec.run_dir) for run in group),
        {key: tuple(run.values[key] for run in group) for key in keys},
        level,
    )


def _headlines(runs: Sequence[Measured]) -> tuple[Headline, ...]:
    """The first metric of every evaluator; the loss where there is none."""
    by_key = {headline.key: headline for run in runs for headline in _of_run(run.cell.spec.run_dir)}
    return tuple(by_key.values()) or (Headline("loss", "loss", False, "lower"),)


def _of_run(run_dir: Path) -> Iterator[Headline]:
    for label, evaluation in evaluations(run_dir).items() if steps(run_dir) else ():
        if evaluation.variant:
            continue
        # of an accuracy over images, whose predictions are kept
        share = evaluation.headline in evaluation.intervals
        note, better = " (lower is better)", evaluation.headline_better
        title = f"{label} ({evaluation.protocol})" + ", %" * share + note * (better == "lower")
        yield Headline(f"eval/{label}/{evaluation.headline}", title, share, better)


def _row(run: Measured) -> dict[str, object]:
    spec = run.cell.spec
    axes = {key: value for key, value in run.cell.values.items() if key != "seed"}
    named = {"cell": run.cell.name, "setting": run.cell.setting, "seed": spec.seed, **axes}
    return {**named, **run.values}
