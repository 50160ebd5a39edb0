"""Starts, resumes and finishes runs, for the command line and the Python API."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sslkit.core.ranks import ranks
from sslkit.runs import metrics_log
from sslkit.runs.budget import total_flops
from sslkit.runs.checkpoint import FOLDER, Checkpoints, Loaded
from sslkit.runs.history import OLD, history, require_same_run
from sslkit.runs.lock import (
    LOCK,
    SPEC,
    changes_of,
    continued_spec,
    locked_spec,
    read_lock,
    version_changes,
    without_first_weights,
)
from sslkit.runs.longer_run import longer_spec
from sslkit.runs.owner import owned
from sslkit.runs.python_parts import python_parts, resume_note
from sslkit.runs.seal import RUN
from sslkit.runs.summary import SUMMARY, Summary, read_summary, write_summary
from sslkit.runs.weights import weights_sha256
from sslkit.runtime.parallel import Parallel, start
from sslkit.runtime.peak_memory import peak_memory_mib
from sslkit.runtime.rank_agreement import on_first_rank, require_one_spec
from sslkit.runtime.readable import present
from sslkit.specs.extension import Continuation
from sslkit.specs.load import parse_as
from sslkit.specs.run import RunSpec
from sslkit.train.continuation import going_on
from sslkit.train.lineage import Lineage, require_data_of_finished
from sslkit.train.outcome import Outcome
from sslkit.train.pictures import FIGURES
from sslkit.train.run_folder import SKIPPED
from sslkit.train.trainer import Trainer

Say = Callable[[str], None]


def train(spec: RunSpec, say: Say = print, data_changed: bool = False) -> Summary:
    """Run `spec` in its folder and return the summary.

    A folder that holds the same run continues it, with the fields that may change as `spec` has them, or returns its
    summary where it is finished.

    Args:
        spec: the run.
        say: is told each line for people.
        data_changed: continue a run although its data are not those that it began with.

    Raises:
        SpecError: the folder holds a different run, or the spec cannot be run.
        DataError: images are missing or unreadable, or not those that the run began with.
        TrainingError: a loss was not finite, or nothing could be saved.
        WorkerError: worker processes died; everything until then is saved.
        InUseError: another process works in the folder.
        StorageError: `summary.json` could not be written, or the folder not be read.
        Interrupted: a second signal came. After the first, the summary says `finished: False` and `stopped_by`.
    """
    say = _of_first_rank(say)
    if (ended := _ended(spec, say, data_changed)) is not None:
        return ended
    with _ranks_and_folder(spec, say) as parallel:
        if (ended := _ended(spec, say, data_changed)) is not None:  # meanwhile, by another process
            return ended
        if history(spec.run_dir).trained:
            say(f"{spec.run_dir} holds this run already: continuing it")
            return _continue(spec, parallel, say, data_changed)
        return _run(spec, None, parallel, say)


def _of_first_rank(say: Say) -> Say:
    return say if ranks().rank == 0 else lambda text: None


def _ended(spec: RunSpec, say: Say, data_changed: bool) -> Summary | None:
    """The summary where the folder of `spec` holds its run and that is finished. Raises SpecError for another run."""
    if not require_same_run(spec, spec.run_dir).finished:
        return None
    say(f"{spec.run_dir} holds this run already: continuing it")
    if not data_changed:
        require_data_of_finished(spec)
    return _finished(spec.run_dir, say)


def resume(
    run_dir: Path, say: Say = print, assignments: Sequence[str] = (), data_changed: bool = False
) -> Summary:
    """Continue the run in `run_dir` from its newest whole checkpoint and return the summary.

    Args:
        run_dir: the run folder.
        say: is told each line for people.
        assignments: `key.path=value` of fields that may change: see `FREE` in `sslkit.runs.allowed_changes`.
        data_changed: go on although the data are not those that the run began with.

    Raises:
        CheckpointError: the folder holds no run, or no checkpoint can be read.
        SpecError: a field may not change.
        DataError: images are missing, or not those that the run began with.
        InUseError: another process works in the folder.
        StorageError: the folder cannot be read.
    """
    say, here = _of_first_rank(say), history(run_dir)
    read_lock(run_dir)
    if here.finished:
        return _finished(run_dir, say)
    with _ranks_and_folder(_resumed(run_dir, assignments), say) as parallel:
        if history(run_dir).finished:  # meanwhile, by another process
            return _finished(run_dir, say)
        spec = _resumed(run_dir, assignments)
        if history(run_dir).trained:
            return _continue(spec, parallel, say, data_changed)
        say(f"{run_dir} has no checkpoint yet: starting over")
        return _run(spec, None, parallel, say)


def extend(
    run_dir: Path,
    assignments: Sequence[str],
    schedule: Continuation = "stretch",
    say: Say = print,
    data_changed: bool = False,
) -> Summary:
    """Make the finished run in `run_dir` longer, train to the new end and return the summary.

    Args:
        run_dir: the run folder.
        assignments: `epochs=N` or `steps=N`, counted from the beginning of the run; and fields that may change.
        schedule: how schedules over the run's length go on: `stretch`, `constant` or `restart`.
        say: is told each line for people.
        data_changed: go on although the data are not those that the run began with.

    Raises:
        CheckpointError: no run, not finished, or without checkpoints.
        SpecError: it would not be longer, or a field may not change.
        DataError: images are missing, or not those that the run began with.
        InUseError: another process works in the folder.
    """
    say = _of_first_rank(say)
    with _ranks_and_folder(longer_spec(run_dir, assignments, schedule), say) as parallel:
        return _continue(longer_spec(run_dir, assignments, schedule), parallel, say, data_changed)


def _resumed(run_dir: Path, assignments: Sequence[str]) -> RunSpec:
    return (continued_spec if history(run_dir).trained else locked_spec)(run_dir, assignments)


@contextlib.contextmanager
def _ranks_and_folder(spec: RunSpec, say: Say) -> Iterator[Parallel]:
    """The ranks, joined, with the folder of `spec` to themselves."""
    parallel = start(spec.device, spec.parallel)
    try:
        require_one_spec(spec, parallel)
        with contextlib.ExitStack() as stack:
            on_first_rank(parallel, lambda: stack.enter_context(owned(spec.run_dir, say)))
            yield parallel
    finally:
        parallel.close()


def _finished(run_dir: Path, say: Say) -> Summary:
    done = read_summary(run_dir)
    say(f"{run_dir} is finished: {done['step']} steps")
    return done


def _continue(spec: RunSpec, parallel: Parallel, say: Say, data_changed: bool) -> Summary:
    """Go on in the folder of `spec`, which has a checkpoint; the networks need no weights to begin with."""
    run_dir = spec.run_dir
    if history(run_dir).run is None:
        say(OLD)
    loaded, damaged = Checkpoints(run_dir / FOLDER).newest()
    if present(run_dir / SUMMARY) and not read_summary(run_dir):
        say(f"warning: {run_dir / SUMMARY} is damaged, and is made again")
    for reason in damaged:
        say(f"warning: passed over a checkpoint: {reason}")
    if changed := version_changes(run_dir):
        say(
            f"warning: versions differ from those that started the run, so results may too: {', '.join(changed)}"
        )
    begun = parse_as(RunSpec, without_first_weights(spec.model_dump(mode="json")))
    return _run(begun, loaded, parallel, say, Lineage(run_dir, changes_of(spec, run_dir), data_changed))


def _run(
    spec: RunSpec, loaded: Loaded | None, parallel: Parallel, say: Say, lineage: Lineage | None = None
) -> Summary:
    parallel.wait()  # until every rank has read the folder, which the first now changes
    trainer = Trainer(spec, parallel, loaded=loaded, lineage=lineage)
    if parallel.first:
        _announce(trainer, say)
    outcome = trainer.run()
    summary = _summary(trainer, outcome)
    if parallel.first:
        write_summary(spec.run_dir, summary)
    return summary


def _announce(trainer: Trainer, say: Say) -> None:
    spec, length = trainer.spec, trainer.length
    begin = f"from step {trainer.start}" if trainer.start else "from the start"
    say(
        f"{spec.name}: {length.steps} steps of {spec.batch_size} images ({length.steps_per_epoch} an epoch) {begin}, "
        f"lr {trainer.stepper.peak_lr:.4g} ({spec.optimizer.lr:g} {spec.optimizer.scale}), "
        f"{trainer.stepper.precision} on {trainer.parallel.device}, in {spec.run_dir}"
    )
    for line in trainer.begun.lines() if trainer.begun else ():
        say(line)
    for note in trainer.lineage.notes:
        say(note)
    for line in going_on(trainer.stepper) if trainer.lineage.longer else ():
        say(line)
    for note in (resume_note(spec), *trainer.notes):
        if note:
            say(f"note: {note}")
    if spec.parallel == "fsdp" and trainer.parallel.world == 1:
        say("note: parallel=fsdp shares nothing in one process; start several with torchrun to share it")


def _flops(run_dir: Path, steps: int) -> int | None:
    """Of `steps` steps, where the lock file says what one costs."""
    per_step = read_lock(run_dir)["resolved"].get("flops")
    return total_flops(per_step, steps) if per_step else None


def _summary(trainer: Trainer, outcome: Outcome) -> Summary:
    weights = None
    if outcome.agreed:
        with trainer.stepper.full_weights():
            weights = weights_sha256(trainer.stepper.reading)
    run_dir = trainer.run_dir
    records = metrics_log.read(run_dir)
    last = {
        key: value
        for entry in records
        for key, value in entry.items()
        if not key.startswith("baseline/") and key != "warning"
    }
    baselines = {k: v for entry in records for k, v in entry.items() if k.startswith("baseline/")}
    kept = trainer.saver.checkpoints.all()
    return {
        **({} if trainer.saver.run is None else {RUN: trainer.saver.run}),
        "name": trainer.spec.name,
        "finished": outcome.finished,
        "stopped_by": outcome.stopped_by,
        "step": outcome.step,
        "epoch": trainer.length.epoch(outcome.step),
        "metrics": last,
        "best": trainer.evaluation.best.values,
        "baselines": baselines,
        "warnings": [finding._asdict() for finding in trainer.collapse.findings],
        "protocols": {e.label: e.build().protocol for e in trainer.spec.evaluate},
        "seconds": outcome.seconds,
        "flops": _flops(run_dir, outcome.step),
        "energy_joules": None if outcome.energy is None else outcome.energy.joules,
        "energy_of": None if outcome.energy is None else outcome.energy.of,
        "peak_memory_mib": peak_memory_mib(trainer.parallel.device),
        "skipped_images": outcome.skipped,
        **({"python_parts": parts} if (parts := python_parts(trainer.spec)) else {}),
        "weights_sha256": weights,
        "paths": {
            "run": str(run_dir),
            "spec": str(run_dir / SPEC),
            "lock": str(run_dir / LOCK),
            "metrics": str(run_dir / metrics_log.METRICS),
            "checkpoint": str(kept[-1]) if kept else None,
            "figures": [str(path) for path in sorted((run_dir / FIGURES).glob("*.png"))],
            "skipped": str(run_dir / SKIPPED) if outcome.skipped else None,
        },
    }
