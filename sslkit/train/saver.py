"""Checkpoint saving, robust to a disk that is full for a while."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import final

from sslkit.errors import StorageError, TrainingError
from sslkit.runs.checkpoint import FOLDER, Checkpoints
from sslkit.runtime.line_file import LineFile, Warn


@final
class Saver:
    """Writes checkpoints on the first rank; one that the disk does not take costs no training."""

    def __init__(self, run_dir: Path, keep: int, records: LineFile, warn: Warn) -> None:
        """`records`: lines that the disk has not taken go into the checkpoint."""
        self.checkpoints = Checkpoints(run_dir / FOLDER, keep)
        self._run_dir, self._records, self._warn = run_dir, records, warn
        self._held: list[Callable[[], object]] = []

    @property
    def complete(self) -> bool:
        """Whether all that was handed to `store` is on the disk."""
        return not self._held

    def last_good(self) -> str:
        """Where the last checkpoint is, and how to go on from it; one sentence or two."""
        kept = self.checkpoints.all()
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
            return self.checkpoints.save(step, state, {**meta, **self._unwritten()}, best)
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

    def _unwritten(self) -> Mapping[str, object]:
        return {"records": list(self._records.held)} if self._records.held else {}

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

    def finish(self) -> None:
        """The end of a run.

        Raises:
            TrainingError: something that was handed in is not on the disk.
        """
        self.retry()
        self._records.retry()
        if self._held or self._records.held:
            raise TrainingError(
                f"{self._run_dir}: results could not be written, as the disk is full. Free some space. "
                f"{self.last_good()}"
            )
