"""Reads the results of a sweep: run folders, and tables in CSV or JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sslkit.analysis.scaling.fit import FLOPS
from sslkit.errors import DataError, SpecError
from sslkit.runs.summary import SUMMARY
from sslkit.runs.tokens_seen import tokens
from sslkit.specs.load import parse_yaml
from sslkit.specs.metrics import Better

LOCK = "spec.lock.yaml"
BACKWARD = 3.0
"""FLOPs of a pass with its gradients, in forward passes; one forward pass is 2 for each parameter and token."""


class Row(NamedTuple):
    """One run."""

    name: str
    """Its folder, or the file and line of a table."""
    values: Mapping[str, float]
    """Its quantities by name."""
    notes: tuple[str, ...] = ()
    """What was assumed, in sentences."""
    better: Mapping[str, Better | None] = {}
    """The direction in which a metric is better, where the run records it; tables do not."""


class Sweep(NamedTuple):
    """Several runs."""

    rows: tuple[Row, ...]

    @property
    def notes(self) -> list[str]:
        """What was assumed, each sentence once."""
        return list(dict.fromkeys(note for row in self.rows for note in row.notes))

    def column(self, name: str) -> list[float]:
        """The quantity `name` of every run.

        Raises:
            SpecError: a run lacks it.
        """
        for row in self.rows:
            if name not in row.values:
                available = ", ".join(row.values) or "nothing"
                raise SpecError(f"{row.name}: has no {name!r}. It has {available}")
        return [row.values[name] for row in self.rows]

    def better(self, name: str) -> Better | None:
        """The direction in which the quantity `name` is better; None where runs do not record it, or differ."""
        each = {row.better.get(name) for row in self.rows}
        return each.pop() if len(each) == 1 else None

    def has(self, name: str) -> bool:
        """Whether every run has the quantity `name`."""
        return all(name in row.values for row in self.rows)


def read_sweep(paths: Sequence[Path]) -> Sweep:
    """The runs in `paths`: run folders, `.csv` and `.json` tables, in any mixture.

    A run has `parameters` (of the student), `images` (seen: steps times batch), `tokens` (that the student encoded),
    `flops`, `seconds`, and its last metrics under their names. `flops` that are not recorded are estimated as 6 per
    parameter and token (2 for a pass without gradients), and a note says so. A table has the columns it
    has; those that are not numbers are left out.

    Raises:
        DataError: a path is neither, or is damaged.
    """
    rows = [row for path in paths for row in _read(path)]
    if not rows:
        raise DataError(f"{', '.join(map(str, paths))}: the table has no rows")
    return Sweep(tuple(rows))


def _read(path: Path) -> Iterator[Row]:
    if not path.exists():
        raise DataError(f"{path}: does not exist; give run folders, or tables in .csv or .json")
    if path.is_dir():
        yield read_run(path)
    elif path.suffix == ".csv":
        yield from _table(path, _csv_rows(path))
    elif path.suffix == ".json":
        yield from _table(path, _json_rows(path))
    else:
        raise DataError(f"{path}: is no run folder and no table; tables end in .csv or .json")


def read_run(run_dir: Path) -> Row:
    """The run in `run_dir`, from its `summary.json` and `spec.lock.yaml`.

    Raises:
        DataError: the folder holds no run, or one that has not ended.
    """
    lock: Mapping[str, Any] = parse_yaml(
        _text(run_dir / LOCK, "the folder holds no run"), str(run_dir / LOCK)
    )
    unfinished = f"the run has not ended; `sslkit resume {run_dir}` ends it"
    summary = _json(run_dir / SUMMARY, _text(run_dir / SUMMARY, unfinished))
    try:
        return _row(run_dir, summary, lock["spec"], lock["resolved"])
    except (KeyError, TypeError) as error:
        raise DataError(f"{run_dir}: {SUMMARY} or {LOCK} is damaged: no {error}") from None


def _row(
    run_dir: Path, summary: Mapping[str, Any], spec: Mapping[str, Any], resolved: Mapping[str, Any]
) -> Row:
    step, size = int(summary["step"]), float(resolved["parameters"]["student"])
    values = {"parameters": size, "images": float(step * spec["batch_size"])}
    student = [one for one in resolved["passes"] if one["net"] == "student" and not one["guide"]]
    values["tokens"] = sum(tokens(one, step) for one in student)
    notes = []
    if not summary["finished"]:
        notes.append(f"{run_dir} was stopped at step {step:,}; it counts with what it came to")
    if isinstance(summary.get("flops"), int | float):
        values["flops"] = float(summary["flops"])
    else:
        others = sum(tokens(one, step) for one in resolved["passes"] if one not in student)
        values["flops"] = FLOPS * size * (values["tokens"] + others / BACKWARD)
        notes.append(
            "FLOPs are not recorded: taken as 6 per parameter and token, heads and decoders left out"
        )
    values["seconds"] = float(summary["seconds"])
    later, best = _later(run_dir, step), dict(summary.get("best", {}))
    better: dict[str, Better | None] = {name: entry.get("better") for name, entry in best.items()}
    values |= _numbers(later.metrics) | _numbers(summary["metrics"])
    return Row(str(run_dir), values, tuple(notes), {"loss": "lower", **better, **later.better})


class _Later(NamedTuple):
    """Of evaluations of the last step, those made after the run included."""

    metrics: dict[str, object]
    better: dict[str, Better | None]


def _later(run_dir: Path, step: int) -> _Later:
    later = _Later({}, {})
    for path in sorted((run_dir / "evaluations" / f"step-{step:08d}").glob("*.json")):
        record = _json(path, _text(path, "cannot be read"))
        for part, values in (("metrics", later.metrics), ("better", later.better)):
            if isinstance(record.get(part), dict):
                values |= {f"eval/{path.stem}/{name}": value for name, value in record[part].items()}
    return later


def _table(path: Path, rows: Sequence[Mapping[str, object]]) -> Iterator[Row]:
    for i, row in enumerate(rows):
        values, notes = _numbers(row), []
        if "flops" not in values and {"parameters", "images"} <= values.keys():
            seen = "tokens" if "tokens" in values else "images"
            values["flops"] = FLOPS * values["parameters"] * values[seen]
            notes.append(f"{path} has no column flops: taken as 6 per parameter and {seen[:-1]}")
        yield Row(f"{path}, row {i + 1}", values, tuple(notes))


def _numbers(row: Mapping[str, object]) -> dict[str, float]:
    """The columns of `row` that are numbers."""
    numbers: dict[str, float] = {}
    for name, value in row.items():
        if name is None or isinstance(value, bool) or not isinstance(value, str | int | float):
            continue
        try:
            numbers[name.strip()] = float(value)
        except ValueError:
            continue
    return numbers


def _csv_rows(path: Path) -> Sequence[Mapping[str, object]]:
    return list(csv.DictReader(_text(path, "cannot be read").splitlines(), skipinitialspace=True))


def _json_rows(path: Path) -> Sequence[Mapping[str, object]]:
    """A list of objects, or an object of columns."""
    data: Any = _json(path, _text(path, "cannot be read"))
    if isinstance(data, dict) and data and all(isinstance(column, list) for column in data.values()):
        lengths = {len(column) for column in data.values()}
        if len(lengths) > 1:
            raise DataError(f"{path}: its columns differ in length: {', '.join(map(str, sorted(lengths)))}")
        data = [dict(zip(data, row, strict=True)) for row in zip(*data.values(), strict=True)]
    if not (isinstance(data, list) and all(isinstance(row, dict) for row in data)):
        raise DataError(f"{path}: a table is a list of objects, one a run, or an object of columns")
    return data


def _json(path: Path, text: str) -> Any:  # noqa: ANN401
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataError(f"{path}: is not JSON: {error}") from None


def _text(path: Path, trouble: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: does not exist: {trouble}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text: {error}") from None
