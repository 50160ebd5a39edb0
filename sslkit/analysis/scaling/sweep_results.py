"""Reads the results of a sweep: run folders, and tables in CSV or JSON."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, final

from pydantic import BaseModel, PlainValidator, TypeAdapter

from sslkit.analysis.scaling.fit import FLOPS
from sslkit.errors import DataError, SpecError
from sslkit.files.regular import read_text
from sslkit.files.typed_json import JsonFile
from sslkit.runs.file_shapes import SUMMARY_FILE
from sslkit.runs.lock import LOCK, read_lock
from sslkit.runs.summary import SUMMARY
from sslkit.runs.tokens_seen import tokens
from sslkit.specs.metrics import Better

BACKWARD = 3.0
"""FLOPs of a pass with its gradients, in forward passes; one forward pass is 2 for each parameter and token."""


@final
class _Scores(BaseModel):
    """What is read of the file of an evaluation."""

    metrics: Mapping[str, object] = {}
    better: Mapping[str, Better | None] = {}


def _table_of(value: object) -> object:
    """`value` where it is a list of objects, or a mapping of lists."""
    match value:
        case list() if all(isinstance(row, dict) for row in value):
            return value
        case dict() if value and all(isinstance(column, list) for column in value.values()):
            return value
    raise ValueError("a table is a list of objects, one a run, or an object of columns")


SCORES_FILE = JsonFile(TypeAdapter(_Scores), DataError, "run `sslkit evaluate` again")
TABLE_FILE: JsonFile[list[dict[str, object]] | dict[str, list[object]]] = JsonFile(
    TypeAdapter(Annotated[Any, PlainValidator(_table_of)]), DataError, "write the table anew", verdict=""
)


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
    for name, trouble in (
        (LOCK, "the folder holds no run"),
        (SUMMARY, f"the run has not ended; `sslkit resume {run_dir}` ends it"),
    ):
        if not (run_dir / name).exists():
            raise DataError(f"{run_dir / name}: does not exist: {trouble}")
    lock, summary = read_lock(run_dir), SUMMARY_FILE.read(run_dir / SUMMARY)
    try:
        return _row(run_dir, summary, lock["spec"], lock["resolved"])
    except KeyError as error:
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
        scores = SCORES_FILE.read(path)
        for part, values in ((scores.metrics, later.metrics), (scores.better, later.better)):
            values |= {f"eval/{path.stem}/{name}": value for name, value in part.items()}
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
        except (ValueError, OverflowError):
            continue
    return numbers


def _csv_rows(path: Path) -> Sequence[Mapping[str, object]]:
    try:
        return list(csv.DictReader(read_text(path).splitlines(), skipinitialspace=True))
    except csv.Error as error:
        raise DataError(f"{path}: cannot be read as CSV: {error}") from None


def _json_rows(path: Path) -> Sequence[Mapping[str, object]]:
    """A list of objects, or an object of columns."""
    match TABLE_FILE.read(path):
        case list() as rows:
            return rows
        case columns:
            lengths = {len(column) for column in columns.values()}
            if len(lengths) > 1:
                differing = ", ".join(map(str, sorted(lengths)))
                raise DataError(f"{path}: its columns differ in length: {differing}")
            return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
