"""Regular files, looked at before they are opened: opening a named pipe waits for good, and a device may act."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sslkit.errors import DataError, SslkitError

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}


def require_regular(path: str | Path, refuse: type[SslkitError] = DataError) -> None:
    """Pass where `path` is, or links to, a regular file.

    Raises:
        SslkitError: of the class `refuse`; there is nothing, it cannot be looked at, or it is something else.
    """
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 -- a Path for each of a million images takes seconds
    except OSError as error:
        raise refuse(f"{path}: cannot be read: {error.strerror}. Check the path") from None
    except ValueError:  # a null character
        raise refuse(f"{str(path)!r}: is no name of a file") from None
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise refuse(
            f"{path}: is {kind}; expected a regular file. Write what it gives to a file, and name that"
        )


def read_bytes(path: Path, refuse: type[SslkitError] = DataError) -> bytes:
    """All of the regular file at `path`.

    Raises:
        SslkitError: of the class `refuse`, with the reason.
    """
    require_regular(path, refuse)
    try:
        return path.read_bytes()
    except OSError as error:
        raise refuse(f"{path}: cannot be read: {error.strerror}") from None


def read_text(path: Path, refuse: type[SslkitError] = DataError, advice: str = "") -> str:
    """The text of the regular file at `path`, in UTF-8, with or without a byte-order mark.

    Args:
        path: the file.
        refuse: class of the error.
        advice: what to do about a file that is no text.

    Raises:
        SslkitError: of the class `refuse`, with the reason.
    """
    try:
        return read_bytes(path, refuse).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        place = f"byte {error.start:,} is not UTF-8"
        raise refuse(f"{path}: is damaged or no text: {place}{f'; {advice}' * bool(advice)}") from None
