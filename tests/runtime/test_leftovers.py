"""Half-written files of processes that were killed."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time

import pytest

from sslkit.runtime.atomic_files import PATIENCE, draw_whole, write_text

KILLED = """
import os, signal, sys
from pathlib import Path
from sslkit.runtime.atomic_files import draw_whole, write_whole

def die(file):
    os.kill(os.getpid(), signal.SIGKILL)

def begin(path):
    path.write_bytes(b"half")
    die(path)

draw_whole(Path(sys.argv[1]), begin) if sys.argv[2] == "draw" else write_whole(Path(sys.argv[1]), die)
"""


@pytest.mark.parametrize("how", ["write", "draw"])
def test_what_a_killed_process_left_goes_with_the_next_writing(tmp_path, how):
    path = tmp_path / "curves.png"
    ended = subprocess.run([sys.executable, "-c", KILLED, str(path), how])
    assert ended.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".curves.png.")
    draw_whole(path, lambda temporary: temporary.write_bytes(b"whole"))
    assert list(tmp_path.iterdir()) == [path]


def test_files_of_writers_at_work_stay(tmp_path):
    """Of another process here, of another machine until it stands still for long, and what is no such file."""
    path, here = tmp_path / "a[1].json", platform.node()
    working = tmp_path / f".a[1].json.{os.getppid()}@{here}.tmp"
    elsewhere = tmp_path / f".a[1].json.1@not{here}.tmp"
    earlier = tmp_path / ".a[1].json.1234.tmp"
    others = [tmp_path / ".a[1].json.notes.tmp", tmp_path / ".b.json.1.tmp", tmp_path / ".a1.json.1.tmp"]
    for file in (working, elsewhere, earlier, *others):
        file.touch()
    write_text(path, "{}")
    assert all(file.exists() for file in (working, elsewhere, earlier, *others))
    for file in (working, elsewhere, earlier, *others):
        os.utime(file, (time.time() - 2 * PATIENCE,) * 2)
    write_text(path, "{}")
    assert set(tmp_path.iterdir()) == {path, working, *others}
