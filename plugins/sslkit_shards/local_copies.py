"""Whole copies of remote shards in a folder of this machine, shared by ranks and workers; the least used go first."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, final

from sslkit.plugin import DataError

ENDING = ".tar"
PART = ".part"
"""Of a copy that is not whole yet."""


class Kept(NamedTuple):
    """Where copies are, and how many bytes they may take."""

    folder: Path
    most: int


@final
class LocalCopies:
    """Copies by name and tag of the shard, so that one that changed is copied anew."""

    def __init__(self, kept: Kept) -> None:
        self.kept = kept

    def read(self, name: str, token: int, fetch: Callable[[Path], object], offset: int, size: int) -> bytes:
        """Bytes of the copy of a shard, which `fetch` writes to a path where there is none.

        Args:
            name: of the shard.
            token: tells its contents apart.
            fetch: copies it.
            offset: of the bytes.
            size: how many.

        Raises:
            DataError: the folder cannot be written, or is too small for one copy.
        """
        path = self.kept.folder / f"{hashlib.sha256(f'{token} {name}'.encode()).hexdigest()[:24]}{ENDING}"
        try:
            for _ in range(3):  # another process may remove it between two lines
                with contextlib.suppress(FileNotFoundError), path.open("rb", buffering=0) as file:
                    os.utime(file.fileno())
                    return os.pread(file.fileno(), size, offset)
                self._fetch(path, fetch)
        except OSError as error:
            raise DataError(
                f"{self.kept.folder}: no copy of {name} can be kept: {error.strerror or error}"
            ) from None
        raise DataError(f"{self.kept.folder}: has no room for a copy of {name}; raise `copy_gib`")

    def _fetch(self, path: Path, fetch: Callable[[Path], object]) -> None:
        """Copy once, whoever asks; others wait."""
        self.kept.folder.mkdir(parents=True, exist_ok=True)
        with _alone(path.with_suffix(".lock")):
            if path.exists():
                return
            part = path.with_suffix(PART)
            fetch(part)
            self._make_room(part.stat().st_size)
            part.replace(path)

    def _make_room(self, size: int) -> None:
        """Remove the copies that were not read for the longest, until `size` more bytes fit."""
        copies = list[tuple[int, int, Path]]()
        for path in self.kept.folder.glob(f"*{ENDING}"):
            with contextlib.suppress(FileNotFoundError):
                stat = path.stat()
                copies.append((stat.st_mtime_ns, stat.st_size, path))
        total = size + sum(each for _, each, _ in copies)
        for _, each, path in sorted(copies):
            if total <= self.kept.most:
                return
            path.unlink(missing_ok=True)
            total -= each


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """While no other process is in here for the same path; a killed one lets go. Its file stays: others wait for it."""
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
