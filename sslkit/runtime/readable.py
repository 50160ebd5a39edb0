"""Reading files: absent is only what is known to be absent."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from sslkit.errors import StorageError
from sslkit.files.regular import require_regular


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Around reading `path`, whose absence passes as FileNotFoundError.

    Raises:
        StorageError: it is there and cannot be read, which may pass: nothing follows from it. So are pipes and devices.
    """
    try:
        _require_no_pipe(path)
        yield
    except (FileNotFoundError, StorageError):
        raise
    except NotADirectoryError as error:
        if present(path):
            raise _unreadable(path, error) from error
        raise FileNotFoundError(error.errno, error.strerror, str(path)) from None
    except OSError as error:
        raise _unreadable(path, error) from error


def _require_no_pipe(path: Path) -> None:
    """Pass where nothing is known of `path`, or it is a file or folder. Raises StorageError for pipes and devices."""
    try:
        mode = path.stat().st_mode
    except OSError:  # who reads it is told
        return
    if not (S_ISREG(mode) or S_ISDIR(mode)):
        require_regular(path, StorageError)


def _unreadable(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{path}: cannot be read: {error.strerror or error}. Nothing was changed; try again when it can"
    )


def present(path: Path) -> bool:
    """Whether there is a file or folder at `path`.

    `Path.exists` and `is_file` answer no to some errors, from Python 3.14 on to any.

    Raises:
        StorageError: that cannot be known.
    """
    with reading(path):
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):  # or a folder on its way is a file
            return False
        return True


def listed(folder: Path) -> list[Path]:
    """What is in `folder`, in order of names; nothing where there is no such folder.

    Raises:
        StorageError: it cannot be listed.
    """
    try:
        with reading(folder):
            return sorted(folder.iterdir())
    except FileNotFoundError:
        return []
