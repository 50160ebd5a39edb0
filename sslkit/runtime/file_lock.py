"""File locks of the operating system, which it takes back when the process ends, whatever ended it.

Not those of the library `filelock`: it empties the file before it has the lock, so that nobody can be named in it, and
forked workers keep its lock when their parent is killed.
"""

from __future__ import annotations

import errno
import os
from importlib import import_module
from pathlib import Path

FAR = 1 << 30
"""The byte that Windows locks: past the text, which others may still read."""

_alone: set[int] = set()
"""Descriptors that no child may have."""


def lock(descriptor: int, wait: bool = False) -> bool:
    """Lock the open file `descriptor` until it is closed; return whether that is done.

    Args:
        descriptor: of a file that is open for reading and writing.
        wait: until whoever holds it lets go; on POSIX systems.

    Raises:
        OSError: the file system knows no locks, as Lustre without `-o flock`, or NFS without its lock service.
    """
    try:
        import fcntl
    except ImportError:
        return _lock_byte(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _lock_byte(descriptor: int) -> bool:
    """As `lock`, on Windows."""
    try:
        msvcrt = import_module("msvcrt")
    except ImportError:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from None
    os.lseek(descriptor, FAR, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except PermissionError:
        return False
    return True


def open_alone(path: Path) -> int:
    """A descriptor of the file at `path`, made where it is missing; no child has it. Close it with `close_alone`.

    A worker process that outlives its parent would else keep the lock.

    Raises:
        OSError: it cannot be opened.
    """
    try:  # where a child executes a program, Python has descriptors closed
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:  # of another user's file, which locks all the same
        descriptor = os.open(path, os.O_RDONLY)
    _alone.add(descriptor)
    return descriptor


def close_alone(descriptor: int) -> None:
    """Close what `open_alone` opened, in the process that did."""
    if descriptor in _alone:
        _alone.discard(descriptor)
        os.close(descriptor)


def _leave_to_parent() -> None:
    """In a forked child, whose copies would keep the locks of its parent."""
    for descriptor in _alone:
        os.close(descriptor)
    _alone.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
