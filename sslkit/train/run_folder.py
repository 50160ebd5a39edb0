"""The folder of a run before its first step: folders, lock file, and the records that the run goes on from."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from sslkit.build.start_weights import Begun
from sslkit.runs import metrics_log
from sslkit.runs.checkpoint import FOLDER, Checkpoints, Entries
from sslkit.runs.evaluations import remove_results
from sslkit.runs.lock import write_lock
from sslkit.runs.summary import SUMMARY
from sslkit.runtime.atomic_files import storing
from sslkit.runtime.parallel import Parallel
from sslkit.specs.run import RunSpec
from sslkit.train.compose import Composed
from sslkit.train.lineage import Lineage, entry
from sslkit.train.pictures import FIGURES
from sslkit.train.resolved_values import resolved

SKIPPED = "skipped.txt"


def prepare_folder(
    spec: RunSpec,
    composed: Composed,
    parallel: Parallel,
    lineage: Lineage,
    start: int,
    meta: Entries,
    begun: Begun | None = None,
) -> str | None:
    """Make the folder ready for a run that begins at step `start`, with the `meta` of the checkpoint it goes on from.

    Without `meta` it is a new run, with the networks of another where `begun` says so.

    Only the first rank calls it. Returns the run's id; None of a run that an earlier version began.

    Raises:
        StorageError: a file could not be read or written.
    """
    run_dir = spec.run_dir
    for folder in (run_dir / FOLDER, run_dir / FIGURES):
        folder.mkdir(parents=True, exist_ok=True)
    Checkpoints(run_dir / FOLDER).tidy()
    facts = partial(resolved, spec, composed, parallel)
    if not meta:
        forget(run_dir)
        origin = [] if begun is None else [entry(0, {"from": begun.recorded()})]
        run: str | None = write_lock(spec, run_dir, facts(), lineage.record_data(), origin)
    else:
        run = lineage.write(start, facts)
        if changed := metrics_log.audit(run_dir, meta):
            lineage.notes.append(changed)
    if not meta or lineage.data:  # other images have other numbers
        (run_dir / SKIPPED).unlink(missing_ok=True)
    metrics_log.rewind(run_dir, start or -1, meta.get("evaluated", True), meta.get("records", ()))
    return run


def forget(run_dir: Path) -> None:
    """Remove the results of a run that began here and never saved: the one that begins now is another."""
    with storing(run_dir / SUMMARY):
        (run_dir / SUMMARY).unlink(missing_ok=True)
    remove_results(run_dir)
