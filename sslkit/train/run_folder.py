"""The folder of a run before its first step: folders, lock file, and the records that the run goes on from."""

from __future__ import annotations

from functools import partial

from sslkit.runs import metrics_log
from sslkit.runs.checkpoint import FOLDER, Entries
from sslkit.runs.lock import write_lock
from sslkit.runtime.parallel import Parallel
from sslkit.specs.run import RunSpec
from sslkit.train.compose import Composed
from sslkit.train.lineage import Lineage
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
) -> None:
    """Make the folder ready for a run that begins at step `start`, with the `meta` of the checkpoint it goes on from.

    Only the first rank calls it.
    """
    run_dir = spec.run_dir
    for folder in (run_dir / FOLDER, run_dir / FIGURES):
        folder.mkdir(parents=True, exist_ok=True)
    facts = partial(resolved, spec, composed, parallel)
    if start == 0:
        write_lock(spec, run_dir, facts(), lineage.record_data())
    else:
        lineage.write(start, facts)
    if start == 0 or lineage.data:  # other images have other numbers
        (run_dir / SKIPPED).unlink(missing_ok=True)
    metrics_log.rewind(run_dir, start or -1, meta.get("evaluated", True), meta.get("records", ()))
