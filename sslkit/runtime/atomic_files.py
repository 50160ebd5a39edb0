"""Atomic file writes: temporary file, fsync, rename. Errors name the file and the remedy."""

from __future__ import annotations

import contextlib
import errno
import glob
import io
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast, final

from sslkit.errors import StorageError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


_ADVICE = {
    errno.ENOSPC: "Free some space on its disk",
    errno.EDQUOT: "Free some of the quota of its disk",
    errno.EFBIG: "Raise the limit of file sizes (`ulimit -f`)",
    errno.EACCES: "Choose a folder that may be written",
    errno.EPERM: "Choose a folder that may be written",
    errno.EROFS: "Choose a folder on a disk that may be written",
    errno.ENAMETOOLONG: "Choose a shorter name",
}
PATIENCE = 3600.0
"""Seconds after which a file that nobody changes is no longer being written."""


@contextlib.contextmanager
def storing(path: Path) -> Iterator[None]:
    """Around writing `path`: the one place that turns an error of the system into one for people.

    Raises:
        StorageError: names the file, the reason and what to do.
    """
    try:
        yield
    except StorageError:  # of a file inside
        raise
    except OSError as error:
        reason, advice = error.strerror or " ".join(str(error).split()), _ADVICE.get(error.errno or 0)
        text = f"{path}: could not be written: {reason}" + (f". {advice}" if advice else "")
        raise StorageError(text) from error


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replace the file at `path` by what `write` puts into it; a crash leaves the old one or the new one.

    Its folder is made.

    Raises:
        StorageError: it could not be written; the old one stays.
    """

    def fill(temporary: Path) -> None:
        with temporary.open("wb") as raw:
            _fill(raw, write)

    _replace(path, temporary_path(path), fill)


def draw_whole(path: Path, draw: Callable[[Path], object]) -> None:
    """As `write_whole`, for a `draw` that takes a path and reads the format from its ending."""
    _replace(path, temporary_path(path, path.suffix), draw)


def temporary_path(path: Path, ending: str = "") -> Path:
    """Where this process writes what becomes `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}@{platform.node()}.tmp{ending}")


def remove_leftovers(path: Path) -> None:
    """Remove what processes left of `path` that were killed while they wrote it."""
    for other in path.parent.glob(f".{glob.escape(path.name)}.*"):
        match = re.fullmatch(r"(\d+)(@(.*))?\.tmp(\.\w+)?", other.name.removeprefix(f".{path.name}."))
        if match and not _is_written(other, int(match[1]), here=match[3] == platform.node()):
            with contextlib.suppress(OSError):
                if other.is_dir():
                    shutil.rmtree(other)
                else:
                    other.unlink(missing_ok=True)


def _is_written(path: Path, process: int, *, here: bool) -> bool:
    """Whether `process` may still write `path`: it runs on this machine or, of another, wrote within `PATIENCE`."""
    if not here or os.name != "posix":
        with contextlib.suppress(OSError):
            return time.time() - path.stat().st_mtime < PATIENCE
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


def _replace(path: Path, temporary: Path, fill: Callable[[Path], object]) -> None:
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            fill(temporary)
            with temporary.open("rb+") as file:  # some systems sync only what may be written
                os.fsync(file.fileno())
            temporary.replace(path)
            remove_leftovers(path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        sync_folder(path.parent)


def _fill(raw: BinaryIO, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` write. Raises OSError as the system gave it, whatever a library made of it."""
    file = _Noting(raw)
    try:
        write(cast(BinaryIO, file))
    except Exception as error:  # torch says "unexpected pos 64 vs 0" of a full disk
        raise file.error or error from None


@final
class _Noting(io.BufferedIOBase):
    """A file that keeps the first error of the system, as libraries replace it by words of theirs."""

    def __init__(self, raw: BinaryIO) -> None:
        super().__init__()
        self._raw = raw
        self.error: OSError | None = None

    def write(self, data: ReadableBuffer) -> int:
        try:
            return self._raw.write(data)
        except OSError as error:
            self.error = self.error or error
            raise

    def flush(self) -> None:
        if not self._raw.closed:
            self._raw.flush()

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        return self._raw.tell()

    def seekable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True


def write_bytes(path: Path, content: bytes) -> None:
    """`content`, whole or absent."""
    write_whole(path, lambda file: file.write(content))


def write_text(path: Path, text: str) -> None:
    """`text` in UTF-8, whole or absent."""
    write_bytes(path, text.encode())


def write_json(path: Path, data: Mapping[str, object]) -> None:
    """`data` as readable JSON, whole or absent."""
    write_text(path, json.dumps(data, indent=2, sort_keys=False) + "\n")


def sync_folder(path: Path) -> None:
    """Bring renames inside a folder to the disk, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
