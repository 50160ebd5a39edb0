"""A disk of 4 MiB that can be filled, through whatever writes to it."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

FILLER = "filler"


@contextlib.contextmanager
def small_disk(folder: Path, kib: int = 4096) -> Iterator[Path]:
    """`folder` as a disk of its own; skips where the user may not mount one."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small disk can be mounted by root on Linux only")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> None:
    """Until not a byte is free."""
    with contextlib.suppress(OSError), (disk / FILLER).open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def free(disk: Path) -> None:
    """All that `fill` took."""
    (disk / FILLER).unlink()
