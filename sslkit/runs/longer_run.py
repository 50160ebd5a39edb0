"""A finished run that is made longer: its spec, and its summary until it is finished again. Torch-free."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from sslkit.errors import CheckpointError, SpecError
from sslkit.runs.allowed_changes import LENGTH
from sslkit.runs.history import history
from sslkit.runs.lock import continued_spec, read_lock, trained_spec
from sslkit.runs.summary import read_summary, write_summary
from sslkit.specs.extension import Continuation
from sslkit.specs.run import RunSpec


def longer_spec(run_dir: Path, assignments: Sequence[str], schedule: Continuation) -> RunSpec:
    """The spec with which the finished run in `run_dir` goes on.

    Args:
        run_dir: the run folder.
        assignments: `epochs=N` or `steps=N`, its length from the beginning, and fields that may change on resume.
        schedule: how schedules over its length go on.

    Raises:
        CheckpointError: the folder holds no run, or none that is finished, or no checkpoint.
        SpecError: it would not be longer, or another field may not change.
    """
    resolved, here = read_lock(run_dir)["resolved"], history(run_dir)
    done = int(resolved["steps"])
    if not here.finished:
        raise CheckpointError(
            f"{run_dir}: is not finished; `sslkit resume {run_dir}` goes on to step {done:,}, then make it longer"
        )
    if not here.checkpoints:
        raise CheckpointError(f"{run_dir}: its checkpoints were removed, so that it cannot go on")
    before = trained_spec(run_dir)
    unit, number = _new_length(run_dir, assignments, before)
    if number * (1 if unit == "steps" else int(resolved["steps_per_epoch"])) <= done:
        raise SpecError(
            f"{unit}: {number:,} is no more than {run_dir} has made, {_length(before)}; give more, counted from its "
            "beginning"
        )
    other = "epochs" if unit == "steps" else "steps"
    extended = [
        *(one.model_dump(mode="json") for one in before.extended),
        {"step": done, "schedule": schedule},
    ]
    fields = [f"{other}=null", *assignments, f"extended={json.dumps(extended)}"]
    return continued_spec(run_dir, fields, LENGTH)


def _new_length(run_dir: Path, assignments: Sequence[str], before: RunSpec) -> tuple[str, int]:
    """`epochs` or `steps`, whichever is given, and how many."""
    pairs = (assignment.partition("=") for assignment in assignments)
    lengths = [(key, value.strip()) for key, _, value in pairs if key in ("epochs", "steps")]
    if len(lengths) != 1 or not lengths[0][1].isdecimal():
        raise SpecError(
            f"{run_dir}: give its new length, as epochs=N or steps=N, one of them, counted from its beginning; it has "
            f"made {_length(before)}"
        )
    return lengths[0][0], int(lengths[0][1])


def _length(spec: RunSpec) -> str:
    return f"{spec.steps:,} steps" if spec.steps is not None else f"{spec.epochs:,} epochs"


def reopen(run_dir: Path) -> None:
    """Say in the summary that the run is not finished, before its lock has the new length, whenever it is killed.

    Raises:
        StorageError: the disk does not take it.
    """
    if summary := read_summary(run_dir):
        write_summary(run_dir, {**summary, "finished": False, "stopped_by": None})
