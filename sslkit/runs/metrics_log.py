"""The records of a run, `metrics.jsonl`: read, checked and taken back. Torch-free."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sslkit.files.typed_json import LARGEST
from sslkit.runtime.atomic_files import write_text
from sslkit.runtime.line_file import Tally
from sslkit.runtime.readable import reading

METRICS = "metrics.jsonl"
TALLY = "tally"
"""Field of a checkpoint with what the file of records held."""


def read(run_dir: Path) -> list[dict[str, Any]]:
    """The records of the run in `run_dir`; a line that a crash cut short, or that is no record, is left out.

    Raises:
        StorageError: the file cannot be read.
    """
    return [record for line in _lines(run_dir) if (record := _record(line)) is not None]


def _lines(run_dir: Path) -> list[str]:
    path = run_dir / METRICS
    try:
        with reading(path):
            return path.read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return []


def _record(line: str) -> dict[str, Any] | None:
    """None where `line` is no record, which has a step and numbers."""
    try:
        record: dict[str, Any] = json.loads(line)
    except (ValueError, RecursionError):
        return None
    match record:
        case {"step": int() as step, **rest} if 0 <= step < 2**63 and step is not True:
            return record if all(_is_value(*item) for item in rest.items()) else None
    return None


def _is_value(key: object, value: object) -> bool:
    """Whether a record has such a value. Every line of a long run comes by here, so it takes no model."""
    match value:
        case None | float() | bool():
            return True
        case int():
            return abs(value) <= LARGEST
        case {**parts}:  # what the guard saw: words and numbers
            return key == "warning" and all(_is_value("warning", part) for part in parts.values())
        case str():
            return key == "warning"
    return False


def audit(run_dir: Path, meta: Mapping[str, Any]) -> str | None:
    """What has become of the records since a checkpoint; None where they are as they were.

    Args:
        run_dir: the run's folder.
        meta: what the checkpoint says beside its state; those of earlier versions do not tell of lost lines.

    Raises:
        StorageError: the file cannot be read.
    """
    step, tally = int(meta["step"]), None if meta.get(TALLY) is None else Tally(**meta[TALLY])
    if tally is not None and _begins_with(run_dir / METRICS, tally):
        return None
    lines = [
        line for line in _lines(run_dir)[:-1] if line
    ]  # a crash cuts what is behind the last end of a line
    whole = [line for line in lines if (record := _record(line)) is not None and record["step"] <= step]
    counts = {
        "lost": max(0, tally.lines - len(set(whole))) if tally else 0,
        "there twice": len(whole) - len(set(whole)),
        "cut or damaged": sum(_record(line) is None for line in lines),
    }
    words = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    if not words and tally is None:
        return None
    return f"warning: {run_dir / METRICS}: lines until step {step} are not those that were written: {words or 'others'}"


def _begins_with(path: Path, tally: Tally) -> bool:
    """Whether the file still holds, first of all, what was in it when it was tallied."""
    try:
        with reading(path), path.open("rb") as file:
            return hashlib.sha256(file.read(tally.bytes)).hexdigest() == tally.sha256
    except FileNotFoundError:
        return not tally.bytes


def rewind(run_dir: Path, step: int, evaluated: bool = True, held: Sequence[str] = ()) -> None:
    """Drop records after `step`: the resumed run makes them again, bit-equal. Of two that are equal one is kept.

    Where `step` was not `evaluated` before the checkpoint, records of its evaluation go too. `held` are lines that the
    disk had not taken when the checkpoint was written.

    Raises:
        StorageError: the file could not be read or written.
    """
    lines = {json.dumps(record): record for record in read(run_dir)}
    lines |= {json.dumps(record): record for line in held if (record := _record(line)) is not None}
    kept = [
        line
        for line, record in lines.items()
        if record["step"] < step or (record["step"] == step and (evaluated or not _is_evaluation(record)))
    ]
    write_text(run_dir / METRICS, "".join(f"{line}\n" for line in kept))


def _is_evaluation(record: Mapping[str, object]) -> bool:
    return any(key.startswith("eval/") for key in record)
