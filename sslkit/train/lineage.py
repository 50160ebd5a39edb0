"""Lineage of a resumed run: changed fields, changed data, and their record in the lock."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import final

from sslkit.core.source import Source
from sslkit.errors import DataError, SpecError
from sslkit.evaluate.evaluation_sources import Sources
from sslkit.runs.allowed_changes import LENGTH, Changes
from sslkit.runs.lock import read_lock, rewrite_lock
from sslkit.runs.longer_run import reopen
from sslkit.runs.seal import RUN
from sslkit.runtime.parallel import Parallel
from sslkit.specs.load import changed
from sslkit.specs.run import RunSpec
from sslkit.train.data_record import differences, recorded, sources_read, write_list

UNKNOWN_DATA = (
    "note: the lock of this run does not say what its data were, as an earlier version began it; what they are now is "
    "recorded, and changes until now go unnoticed"
)


@final
class Lineage:
    """What differs between a run as it was stopped and as it goes on."""

    def __init__(self, run_dir: Path, changes: Changes | None = None, data_changed: bool = False) -> None:
        """`changes`: of the spec; `data_changed`: go on with data that are not those of the beginning."""
        self.run_dir, self.changes, self.allowed = run_dir, changes or {}, data_changed
        self.notes: list[str] = [
            f"changed: {path}: {then} -> {now}"
            for path, (then, now) in self.changes.items()
            if path != "extended"
        ]
        self.longer = any(path in LENGTH for path in self.changes)
        """Whether a finished run is made longer."""
        self.data: dict[str, list[str]] = {}
        """Source -> what changed in it."""
        self._read: dict[str, Source] = {}

    def require_same_data(self, spec: RunSpec, sources: Sources, parallel: Parallel, begun: bool) -> None:
        """Pass where the run reads what it began with, or where it was said that it may not. Every rank calls this.

        Raises:
            DataError: data changed; the message says what.
        """
        if parallel.first:
            self._read = sources_read(spec, sources)
            self.data = self._changed_data() if begun else {}
        if begun and not self.allowed and parallel.any(bool(self.data)):
            raise DataError(refusal(self.run_dir, self.data))
        self.notes += [f"changed: {place}: {', '.join(what)}" for place, what in self.data.items()]

    def _changed_data(self) -> dict[str, list[str]]:
        before = read_lock(self.run_dir).get("data")
        if not before:
            self.notes.append(UNKNOWN_DATA)
            return {}
        differing = {
            place: differences(self.run_dir, place, source, before[place])
            for place, source in self._read.items()
            if place in before
        }
        return {place: what for place, what in differing.items() if what}

    def record_data(self) -> dict[str, object]:
        """What the lock says of the data that are read; the lists of images go beside it."""
        for place, source in self._read.items():
            write_list(self.run_dir, place, source)
        return {place: recorded(source) for place, source in self._read.items()}

    def write(self, step: int, resolved: Callable[[], Mapping[str, object]]) -> str | None:
        """Bring the lock up to date where anything changed; returns the run's id, which earlier versions gave none.

        `resolved`: everything that follows from spec and data.
        """
        lock = read_lock(self.run_dir)
        run: str | None = lock.get(RUN)
        before = lock.get("data") or {}
        if not self.changes and not self.data and set(self._read) <= set(before):
            return run
        lock["data"] = {**before, **self.record_data()}
        if self.changes or self.data:
            spec = {path: {"then": then, "now": now} for path, (then, now) in self.changes.items()}
            data = {
                place: {"then": before[place], "now": lock["data"][place], "what": what}
                for place, what in self.data.items()
            }
            lock["lineage"] = [*(lock.get("lineage") or []), entry(step, {"spec": spec, "data": data})]
            lock["spec"] = changed(lock["spec"], [(path, now) for path, (_, now) in self.changes.items()])
        if self.data or self.longer:
            lock["resolved"] = dict(resolved())
        if self.longer:
            reopen(self.run_dir)
        rewrite_lock(self.run_dir, lock)
        return run


def entry(step: int, facts: Mapping[str, object]) -> dict[str, object]:
    """What the lock says of where a run comes from, or how it changed after `step` steps."""
    time = datetime.now(UTC).isoformat(timespec="seconds")
    return {"step": step, "time": time, **facts, "command": sys.argv}


def refusal(run_dir: Path, data: Mapping[str, list[str]]) -> str:
    """Why a run on other data does not go on, and how it would."""
    lines = [f"  {place}: {', '.join(what)}" for place, what in data.items()]
    return "\n".join(
        [
            f"{run_dir}: its data have changed since it began:",
            *(lines or ["  (the first rank says what)"]),
            f"Bring back the data, or go on with them as they are: `sslkit resume {run_dir} --data-changed`",
        ]
    )


def require_data_of_finished(spec: RunSpec) -> None:
    """Pass where a finished run learned from the images that `spec` names now.

    Raises:
        DataError: they are others.
    """
    before = (read_lock(spec.run_dir).get("data") or {}).get("data.train")
    source = spec.data.build("train")
    what = [] if source is None or before is None else differences(spec.run_dir, "data.train", source, before)
    if what:
        raise DataError(
            f"{spec.run_dir}: is finished, and its data have changed since it began: {', '.join(what)}. "
            "Choose another folder with --out to train on the data as they are"
        )


def require_within(start: int, steps: int, run_dir: Path) -> None:
    """Pass where step `start` is not past the end, as it may be with fewer images. Raises SpecError otherwise."""
    if start > steps:
        raise SpecError(
            f"{run_dir}: has made {start} steps, but with the data as they are now its `epochs` are {steps} steps; "
            "its last checkpoint can be evaluated and exported, or start another run with --out"
        )
