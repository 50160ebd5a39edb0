"""The manifest of a run folder: the run's id, and whether it has saved a checkpoint. Torch-free.

All other files carry the id and a checksum of their own, so that none of them is written twice: the lock, checkpoints,
results and the summary. The records are bound by their checksum in each checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from sslkit.runs.file_shapes import MANIFEST_FILE
from sslkit.runs.seal import RUN, read_sealed, sealed
from sslkit.runtime.atomic_files import write_json

MANIFEST = "manifest.json"
FORMAT = 1
REMEDY = ". Remove it: the other files are known by themselves"


class Manifest(NamedTuple):
    """What binds the files of a run."""

    run: str
    """The id of the run: random, and nothing that training reads."""
    files: Mapping[str, str]
    """Name -> checksum of what the file says, of files that do not carry the id."""
    saved: bool = False
    """Whether a checkpoint was ever written: if so, one that is not there was removed."""


def write_manifest(run_dir: Path, manifest: Manifest) -> None:
    """Write `manifest.json`. Raises StorageError where the disk does not take it."""
    write_json(run_dir / MANIFEST, sealed({"format": FORMAT, **manifest._asdict()}))


def read_manifest(run_dir: Path) -> Manifest | None:
    """The manifest of the run in `run_dir`; None where there is none, as of earlier versions.

    Raises:
        CheckpointError: it is damaged.
        StorageError: it cannot be read.
    """
    try:
        fields = read_sealed(run_dir / MANIFEST, MANIFEST_FILE, REMEDY)
    except FileNotFoundError:
        return None
    return Manifest(fields[RUN], fields["files"], fields["saved"])


def note_saved(run_dir: Path, run: str) -> None:
    """Put into the manifest that `run` has saved a checkpoint. Raises StorageError, CheckpointError."""
    manifest = read_manifest(run_dir)
    if manifest is None or not manifest.saved:
        write_manifest(run_dir, Manifest(run, {} if manifest is None else manifest.files, saved=True))
