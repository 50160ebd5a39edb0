"""Checkpoints: atomic, checksummed, loaded without running code. Keeps the newest and the best."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, final

from sslkit.errors import CheckpointError, StorageError
from sslkit.runs.file_shapes import META_FILE
from sslkit.runs.seal import RUN, read_sealed, sealed
from sslkit.runtime.atomic_files import sync_folder, write_json, write_whole
from sslkit.runtime.readable import listed, present, reading

FORMAT = 1
STATE = "state.pt"
META = "meta.json"
FOLDER = "checkpoints"
_NAME = re.compile(r"^step-(\d{8,})$")


Entries = dict[str, Any]
"""What a checkpoint holds: its state, or its meta data."""


class Loaded(NamedTuple):
    """A checkpoint in memory."""

    step: int
    state: Entries
    meta: Entries
    path: Path


@final
class Checkpoints:
    """The checkpoints of one run folder."""

    def __init__(self, folder: Path, keep: int = 2, run: str | None = None) -> None:
        """`run`: the id that new ones carry."""
        self.folder, self.keep = folder, keep
        self._id = {} if run is None else {RUN: run}

    def all(self) -> list[Path]:
        """Finished checkpoints, oldest first.

        Raises:
            StorageError: they cannot be listed, which is not to say that there are none.
        """
        paths = [p for p in listed(self.folder) if _NAME.match(p.name) and present(p / META)]
        return sorted(paths, key=step_of)

    def save(
        self, step: int, state: Mapping[str, object], meta: Mapping[str, object], best: int | None
    ) -> Path:
        """Write the checkpoint of `step`, then drop what is neither new nor `best` (a step).

        Raises:
            StorageError: it could not be written; nothing of it stays, and older checkpoints are untouched.
        """
        final_path = self.folder / f"step-{step:08d}"
        temporary = self.folder / f".writing-{step:08d}"
        try:
            _fresh(temporary).mkdir(parents=True)
            _write(temporary, state, {"format": FORMAT, "step": step, **self._id, **meta})
            if final_path.exists():  # moved aside, not deleted: that would take long enough to be killed in
                final_path.rename(_fresh(self.folder / f".writing-old-{step:08d}"))
            temporary.rename(final_path)
            sync_folder(self.folder)
        except (OSError, RuntimeError) as error:  # torch reports some errors as RuntimeError
            shutil.rmtree(temporary, ignore_errors=True)
            raise StorageError(f"checkpoint of step {step} could not be written: {error}") from error
        self.prune(best)
        return final_path

    def amend(self, step: int, changes: Mapping[str, object], best: int | None) -> None:
        """Put `changes` into what the checkpoint of `step` says beside its state, then drop as `save` does.

        Raises:
            CheckpointError: there is no such checkpoint.
            StorageError: it could not be written; the checkpoint stays as it was.
        """
        path = self.folder / f"step-{step:08d}"
        write_json(path / META, sealed({**read_meta(path), **changes}))
        self.prune(best)

    def prune(self, best: int | None) -> None:
        """Drop checkpoints that are neither among the newest nor the best, and half-written ones, where that can be.

        One whose folder may not be written stays whole and under its name: somebody may have protected it.
        """
        with contextlib.suppress(OSError):
            for path in self.all()[: -self.keep]:
                if step_of(path) != best and _may_be_written(path):
                    # moved aside first: half of one would pass for one
                    path.rename(_fresh(self.folder / f".writing-old-{step_of(path):08d}"))
        self.tidy()

    def tidy(self) -> None:
        """Drop what is half-written, or half-removed, since a crash."""
        for path in self.folder.glob(".writing-*"):
            shutil.rmtree(path, ignore_errors=True)

    def newest(self) -> tuple[Loaded, list[str]]:
        """The newest whole checkpoint, and why newer ones were passed over.

        Raises:
            CheckpointError: all are damaged.
            StorageError: one cannot be read, which may pass; none is passed over for that.
        """
        damaged: list[str] = []
        for path in reversed(self.all()):
            try:
                return load(path), damaged
            except CheckpointError as error:
                damaged.append(str(error))
        reasons = "".join(f"\n  {reason}" for reason in damaged)
        raise CheckpointError(f"{self.folder}: no checkpoint that can be read{reasons}")


def _may_be_written(folder: Path) -> bool:
    return os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def step_of(path: Path) -> int:
    """The step in a checkpoint's name. Raises CheckpointError where there is none."""
    match = _NAME.match(path.name)
    if match is None:
        raise CheckpointError(f"{path}: a checkpoint is a folder called step-NNNNNNNN")
    return int(match[1])


def load(path: Path) -> Loaded:
    """The checkpoint in the folder `path`, its checksum verified.

    Raises:
        CheckpointError: files are missing, cut short or changed, or the format is not known.
        StorageError: a file cannot be read.
    """
    meta = read_meta(path)
    state_path = path / STATE
    try:
        with reading(state_path):
            digest = checksum(state_path)
    except FileNotFoundError:
        raise CheckpointError(f"{state_path}: is missing; the checkpoint is incomplete") from None
    if digest != meta["sha256"]:
        raise CheckpointError(
            f"{state_path}: is damaged or cut short: sha256 {digest[:12]}..., expected {str(meta['sha256'])[:12]}..."
        )
    import torch  # not at the top: a sweep looks for checkpoints and stays light

    try:
        state = torch.load(state_path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's parser raises whatever a strange file makes it meet
        raise CheckpointError(
            f"{state_path}: is not a torch file of tensors ({type(error).__name__})"
        ) from None
    if not isinstance(state, dict) or not {"system", "optimizer"} <= state.keys():
        raise CheckpointError(f"{state_path}: lacks system or optimizer; it is not a checkpoint of a run")
    return Loaded(meta["step"], state, meta, path)


def checksum(path: Path) -> str:
    """sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fresh(path: Path) -> Path:
    """`path`, with nothing there."""
    shutil.rmtree(path, ignore_errors=True)
    return path


def _write(folder: Path, state: Mapping[str, object], meta: Mapping[str, object]) -> None:
    import torch

    write_whole(folder / STATE, lambda file: torch.save(dict(state), file))
    write_json(folder / META, sealed({**meta, "sha256": checksum(folder / STATE)}))


def read_meta(path: Path) -> Entries:
    """What the checkpoint in the folder `path` says beside its state.

    Raises:
        CheckpointError: it is missing, damaged or of another format.
        StorageError: it cannot be read.
    """
    try:
        meta: Entries = read_sealed(path / META, META_FILE)
    except FileNotFoundError:
        raise CheckpointError(f"{path / META}: is missing; the checkpoint is incomplete") from None
    if meta["step"] != step_of(path):
        raise CheckpointError(
            f"{path / META}: is of step {meta['step']}, not of this folder's; it was copied or changed"
        )
    if meta["format"] != FORMAT:
        raise CheckpointError(
            f"{path}: format {meta['format']}, but this sslkit reads {FORMAT}; use the newer sslkit"
        )
    return meta
