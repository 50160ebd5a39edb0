"""Checkpoint saving, robust to a disk that is full for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import final

from sslkit.errors import CheckpointError, StorageError, TrainingError
from sslkit.runs.checkpoint import FOLDER, Checkpoints
from sslkit.runs.manifest import note_saved
from sslkit.runs.metrics_log import TALLY
from sslkit.runtime.line_file import LineFile, Tallied, Warn


@final
class Saver:
    """Writes checkpoints on the first rank; one that the disk does not take costs no training."""

    def __init__(
        self, run_dir: Path, keep: int, records: LineFile, warn: Warn, run: str | None = None
    ) -> None:
        """`records`: lines that the disk has not taken go into the checkpoint. `run`: the run's id."""
        self.run, self.checkpoints = run, Checkpoints(run_dir / FOLDER, keep, run)
        self._run_dir, self._records, self._warn = run_dir, records, warn
        self._tallied = Tallied(records.path)
        self._noted = run is None
        self._held: list[Callable[[], object]] = []

    @property
    def complete(self) -> bool:
        """Whether all that was handed to `store` is on the disk."""
        return not self._held

    def last_good(self) -> str:
        """Where the last checkpoint is, and how to go on from it; one sentence or two."""
        try:
            kept = self.checkpoints.all()
        except StorageError as error:
            return f"{error}; `sslkit resume {self._run_dir}` then continues."
        if not kept:
            return f"There is no checkpoint yet; `sslkit resume {self._run_dir}` starts over."
        return f"The last good checkpoint is {kept[-1]}; `sslkit resume {self._run_dir}` continues from it."

    def save(
        self,
        step: int,
        state: Mapping[str, object],
        meta: Mapping[str, object],
        best: int | None,
        *,
        final: bool,
    ) -> Path | None:
        """Write the checkpoint of `step`; None where the disk did not take it, which is told.

        Raises:
            TrainingError: so it is and this is the `final` one: there is no later.
        """
        self.retry()
        self._records.sync()
        try:
            path = self.checkpoints.save(step, state, {**meta, **self._unwritten()}, best)
            self._note_saved()
            return path
        except StorageError as error:
            if final:
                raise TrainingError(f"{error}. {self.last_good()}") from None
            self._warn(f"{error}; training goes on and tries again at the next checkpoint")
            return None

    def amend(self, step: int, changes: Mapping[str, object], best: int | None) -> None:
        """Put `changes` into what the checkpoint of `step` says beside its state, as far as the disk lets."""
        self._records.sync()
        try:
            self.checkpoints.amend(step, {**changes, **self._unwritten()}, best)
        except StorageError as error:
            self._warn(f"{error}; a resumed run evaluates step {step} again")

    def _note_saved(self) -> None:
        """Once: that there was a checkpoint."""
        if self.run is None or self._noted:
            return
        try:
            note_saved(self._run_dir, self.run)
            self._noted = True
        except (StorageError, CheckpointError) as error:
            self._warn(f"{error}; training goes on and tries again at the next checkpoint")

    def _unwritten(self) -> Mapping[str, object]:
        """The records: what the file holds, by which it is known again, and lines that it does not."""
        unwritten: dict[str, object] = {"records": list(self._records.held)} if self._records.held else {}
        with contextlib.suppress(OSError):
            unwritten[TALLY] = self._tallied.now()._asdict()
        return unwritten

    def store(self, write: Callable[[], object]) -> None:
        """Call `write`, now or, where the disk does not take what it writes, before a later checkpoint."""
        self._held.append(write)
        self.retry()

    def retry(self) -> None:
        """Write what is held, as far as the disk lets."""
        while self._held:
            try:
                self._held[0]()
            except StorageError as error:
                self._warn(f"{error}; it is held in memory until then")
                return
            del self._held[0]

    def finish(self, best: int | None) -> None:
        """The end of a run, whose `best` step is known: drops what a process left that was killed before it could.

        Raises:
            TrainingError: something that was handed in is not on the disk.
        """
        self.retry()
        self._records.retry()
        self._records.sync()
        with contextlib.suppress(StorageError):
            self.checkpoints.prune(best)
        if self._held or self._records.held:
            raise TrainingError(
                f"{self._run_dir}: results could not be written, as the disk is full. Free some space. "
                f"{self.last_good()}"
            )
