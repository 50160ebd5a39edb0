"""What a run folder holds, and whether all of it is of one run. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sslkit.errors import CheckpointError, SpecError, SslkitError
from sslkit.runs.allowed_changes import DATA, LENGTH
from sslkit.runs.checkpoint import FOLDER, Checkpoints, read_meta, step_of
from sslkit.runs.lock import LOCK, SPEC, differences, read_lock, restored_by
from sslkit.runs.manifest import MANIFEST, Manifest, read_manifest
from sslkit.runs.seal import RUN, digest
from sslkit.runs.summary import SUMMARY, Summary, read_summary
from sslkit.runtime.readable import present
from sslkit.specs.load import read_yaml
from sslkit.specs.python_objects import objects_in
from sslkit.specs.run import RunSpec

ADVICE = "bring back what belongs there, remove the folder to begin anew, or choose another folder with --out"
OLD = (
    "note: this run carries no manifest, as an earlier version began it: files of another run among its own go "
    "unnoticed"
)


class History(NamedTuple):
    """What a folder holds of a run."""

    run: str | None = None
    """The run's id; None of earlier versions, and where no run began."""
    checkpoints: Sequence[Path] = ()
    """Oldest first."""
    finished: bool = False

    @property
    def trained(self) -> bool:
        """Whether there is anything that another run may not take the place of."""
        return bool(self.checkpoints) or self.finished


def history(run_dir: Path) -> History:
    """What `run_dir` holds; nothing where no run began, or one that never saved.

    Raises:
        CheckpointError: files are of different runs, or of none, or some were removed; the message says which.
        StorageError: something cannot be read, so that nothing is known.
    """
    checkpoints = Checkpoints(run_dir / FOLDER).all()
    manifest, summary = read_manifest(run_dir), read_summary(run_dir)
    saved = manifest.saved if manifest is not None else int(summary.get("step") or 0) > 0
    if not present(run_dir / LOCK):
        if checkpoints or saved:
            what = ", ".join([*(path.name for path in checkpoints)] or ["results"])
            raise CheckpointError(
                f"{run_dir}: holds {what} and no {LOCK}, so that nothing says of which run: {restored_by(run_dir)}, or "
                "remove the folder to begin anew, or choose another with --out"
            )
        return History()
    lock = read_lock(run_dir)
    here = History(lock.get(RUN), checkpoints, bool(summary.get("finished")))
    problems = list(_problems(run_dir, lock, here, manifest, summary))
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise CheckpointError(f"{run_dir}: not all of it is of one run:{lines}\n{ADVICE.capitalize()}")
    if not here.trained and (saved or not present(run_dir / FOLDER)):
        raise CheckpointError(f"{run_dir}: the checkpoints of its run are gone: {ADVICE}")
    return here


def _problems(
    run_dir: Path, lock: Mapping[str, Any], here: History, manifest: Manifest | None, summary: Summary
) -> Iterator[str]:
    """In words, what does not belong together."""
    if not here.trained and not (manifest is not None and manifest.saved):
        return  # what a run left that began and never saved is made again
    if manifest is not None and manifest.run != here.run:
        yield f"{LOCK} is of {_name(here.run)}, but {MANIFEST} of {_name(manifest.run)}"
    if summary and summary.get(RUN) != here.run:
        yield f"{LOCK} is of {_name(here.run)}, but {SUMMARY} of {_name(summary.get(RUN))}"
    if (
        manifest is not None
        and SPEC in manifest.files
        and not _unchanged(run_dir / SPEC, manifest.files[SPEC])
    ):
        yield (
            f"{SPEC} is not what the run began with; fields change by `sslkit resume {run_dir} key.path=value`. "
            "Removed, it is not missed"
        )
    last = lock["resolved"].get("steps")
    for path in here.checkpoints:
        if isinstance(last, int) and step_of(path) > last:
            yield f"{path.name} is beyond the last step of the run, {last}"
        elif (run := _run_of(path, here.run)) != here.run:
            yield f"{LOCK} is of {_name(here.run)}, but {path.name} of {_name(run)}"


def _run_of(path: Path, otherwise: str | None) -> str | None:
    """The run of a checkpoint; `otherwise` of one that is damaged, which is passed over where it would be used."""
    try:
        run: str | None = read_meta(path).get(RUN)
    except CheckpointError:
        return otherwise
    return run


def _unchanged(path: Path, checksum: str) -> bool:
    if not present(path):
        return True
    try:
        return digest(read_yaml(path)) == checksum
    except SslkitError:
        return False


def _name(run: object) -> str:
    return "a run of an earlier version" if run is None else f"run {str(run)[:8]}"


def require_same_run(spec: RunSpec, run_dir: Path) -> History:
    """What `run_dir` holds, which is no run, one that never saved a checkpoint, or the very run that `spec` describes.

    Data at another place pass where the lock knows their content, which is compared when they are opened.

    Raises:
        SpecError: it holds a different one.
        CheckpointError: not all of it is of one run.
        StorageError: it cannot be read.
    """
    here = history(run_dir)
    if not here.trained:
        return here
    compared = bool(read_lock(run_dir).get("data"))
    different = [field for field in differences(spec, run_dir) if not (compared and field == DATA)]
    if different:
        resumed = "`Run(...).resume()`" if any(objects_in(spec)) else f"`sslkit resume {run_dir}`"
        longer = ""
        if here.finished and {*different} <= {*LENGTH}:
            longer = f", make it longer with `sslkit extend {run_dir}`"
        raise SpecError(
            f"{run_dir}: holds a different run (its {', '.join(different)} differ{'s' * (len(different) == 1)}). "
            f"Choose another folder with --out, continue that run with {resumed}{longer}, or delete the folder"
        )
    return here
