"""Append-only text file of whole lines, robust to a disk that is full for a while."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, final

from sslkit.errors import StorageError
from sslkit.runtime.atomic_files import storing

BLOCK = 1 << 20
"""Bytes that are read at once."""

Warn = Callable[[str], None]
"""Is told one line for people."""


@final
class LineFile:
    """Lines that cannot be written are held, and written before the next ones."""

    def __init__(self, path: Path, warn: Warn) -> None:
        """`warn` is told once when lines begin to be held."""
        self.path, self._warn = path, warn
        self._held: list[str] = []
        self._failing = False

    @property
    def held(self) -> Sequence[str]:
        """Lines that are not in the file yet."""
        return self._held

    def add(self, lines: Iterable[str]) -> None:
        """Append `lines`, without their ends, as far as the disk lets."""
        self._held += lines
        self.retry()

    def retry(self) -> None:
        """Append what is held, as far as the disk lets."""
        if not self._held:
            return
        try:
            with storing(self.path):
                text = "".join(f"{line}\n" for line in self._held)
                _append(self.path, text.encode(errors="backslashreplace"))  # file names may be any bytes
        except StorageError as error:
            if not self._failing:
                self._warn(f"{error}; its lines are held until they can be")
            self._failing = True
        else:
            self._held, self._failing = [], False

    def sync(self) -> None:
        """Bring the file to the disk, so that a checkpoint never outlives the records before it."""
        with contextlib.suppress(OSError), self.path.open("ab") as file:
            os.fsync(file.fileno())


class Tally(NamedTuple):
    """What a file of lines held at some time."""

    bytes: int
    lines: int
    sha256: str


@final
class Tallied:
    """A growing file, of which nothing is read twice."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._bytes, self._lines, self._digest = 0, 0, hashlib.sha256()

    def now(self) -> Tally:
        """The tally of what the file holds now. Raises OSError where it cannot be read."""
        with self._path.open("rb") as file:
            file.seek(self._bytes)
            while block := file.read(BLOCK):
                self._digest.update(block)
                self._bytes += len(block)
                self._lines += block.count(b"\n")
        return Tally(self._bytes, self._lines, self._digest.hexdigest())


def _append(path: Path, data: bytes) -> None:
    """Add `data` as a whole. Raises OSError where it could not be, with the file as it was."""
    with path.open("ab", buffering=0) as file:
        size, rest = os.fstat(file.fileno()).st_size, memoryview(data)
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError:
            with contextlib.suppress(OSError):
                file.truncate(size)
            raise
