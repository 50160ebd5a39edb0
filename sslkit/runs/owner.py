"""One process writes a run folder: a lock of the operating system on a file that says who holds it."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from sslkit.errors import InUseError
from sslkit.runtime.atomic_files import storing
from sslkit.runtime.file_lock import close_alone, lock, open_alone

OWNER = ".owner"
"""File inside the folder. It stays: were it removed, two processes could each lock a file of that name."""
STORING = ".storing"
"""As `OWNER`, for as long as evaluations are written: also beside a run that trains."""
LOOK = 0.1
"""Seconds between two tries."""
AFTERLIFE = 10.0
"""Seconds to wait for a lock whose holder has ended: the child that it was forking lets go as it begins."""

Warn = Callable[[str], None]


@contextlib.contextmanager
def owned(folder: Path, warn: Warn, file: str = OWNER, wait: float = 0.0) -> Iterator[None]:
    """Keep `folder`, which is made, to this process. Where nothing else was put into it nothing of it stays.

    The lock ends with the process, SIGKILL included; worker processes do not have it. One that was being forked just
    then lets go as it begins, which is waited for. Where the file system knows no locks `warn` is told, and nothing is
    kept.

    Args:
        folder: the run's.
        warn: is told one line.
        file: what is locked: `OWNER` or `STORING`.
        wait: seconds to wait for another process.

    Raises:
        InUseError: another process has it; the message says which.
        StorageError: the folder cannot be made or written.
    """
    with storing(folder / file):
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
    descriptor = _locked(folder / file, warn, time.monotonic() + wait)
    try:
        _sign(descriptor)
        yield
    finally:
        _tidy(folder / file, missing)
        close_alone(descriptor)


def _locked(path: Path, warn: Warn, until: float) -> int:
    """A descriptor of the file at `path`, locked."""
    while True:
        with storing(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        with storing(path):
            descriptor = open_alone(path)
        try:
            if lock(descriptor) and _is_at(path, descriptor):
                return descriptor
        except OSError as error:
            warn(
                f"warning: {path.parent}: its file system has no locks ({error.strerror}), so nothing keeps a second "
                "process out of it; start one at a time"
            )
            return descriptor
        close_alone(descriptor)
        holder = _holder(path)
        if time.monotonic() >= until + AFTERLIFE * _has_ended(holder):
            raise InUseError(
                f"{path.parent}: {_named(holder)} is writing it. Wait until that has ended, or choose another folder"
            )
        time.sleep(LOOK)


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file is the one at `path`, and was not removed by `_tidy` before it was locked."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    return False


def _sign(descriptor: int) -> None:
    """Write who holds the lock; without, as on a full disk, a refusal says less."""
    holder = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
        "command": shlex.join(sys.argv),
    }
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, json.dumps(holder).encode())


def _holder(path: Path) -> dict[str, object]:
    """Who holds the lock, as far as its file says."""
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError):
        return {}


def _named(holder: Mapping[str, object]) -> str:
    try:
        return "process {pid} on {host}, since {since} (`{command}`),".format_map(holder)
    except KeyError:
        return "another process"


def _has_ended(holder: Mapping[str, object]) -> bool:
    """Whether the process of this machine that took the lock is no more."""
    if os.name != "posix" or holder.get("host") != socket.gethostname():
        return False
    try:
        os.kill(int(str(holder.get("pid"))), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, OverflowError):
        return False
    return False


def _tidy(path: Path, missing: Sequence[Path]) -> None:
    """Remove the lock where nothing else is in its folder, and the folders that were `missing` before."""
    with contextlib.suppress(OSError):
        if list(path.parent.iterdir()) == [path]:
            path.unlink()
            for folder in missing:
                folder.rmdir()
