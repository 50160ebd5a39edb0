"""Commands in children forked from a process that has imported everything, each held to its time and memory."""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, final

from sslkit.cli.main import main

PATIENCE = 240.0
"""Seconds that a child may take, on a machine that does other things too."""
ENOUGH = "has done enough"
"""Why a child is stopped that goes on for long, as it may."""
POLL = 0.005
"""Seconds between two looks at a child."""


class Ended(NamedTuple):
    """How a child ended."""

    code: int
    """Its exit code, or minus the signal that ended it."""
    output: str
    """What it printed, errors too."""
    seconds: float
    """Of processor time, as other programs share the machine."""
    mib: float
    """How much memory it took beyond what it was forked with."""
    stopped: str = ""
    """Why it was put to an end from here, if it was."""


def command(*words: object, before: Callable[[], object] = lambda: None) -> Callable[[], int]:
    """`sslkit WORDS`, for a child; `before` is called in it first."""

    def run() -> int:
        before()
        return main([str(word) for word in words])

    return run


@final
class Child:
    """A function that runs in a fork of this process, which must have a single thread."""

    def __init__(self, function: Callable[[], int], cwd: Path | None = None) -> None:
        if threading.active_count() > 1:
            raise RuntimeError("a process with several threads cannot be forked safely")
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `wait`
        self._begun = time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _be_child(function, self._output.fileno(), cwd)
        self._base = _resident_mib(self.pid)

    def send(self, number: int) -> None:
        """Signal the child, which may have ended."""
        os.kill(self.pid, number)  # a zombie takes any signal until it is waited for

    def printed(self) -> str:
        """What it has printed so far."""
        return os.pread(self._output.fileno(), 1 << 20, 0).decode(errors="replace")

    def wait(
        self, seconds: float = PATIENCE, mib: float = 4096.0, enough: Callable[[], bool] = lambda: False
    ) -> Ended:
        """Until it ends, by itself, or as it takes longer or more memory than it may, or has done `enough`."""
        stopped, peak = "", 0.0
        while True:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                break
            peak = max(peak, _resident_mib(self.pid) - self._base)
            if not stopped and time.monotonic() - self._begun > seconds:
                stopped = f"took longer than {seconds:g} s"
            elif not stopped and peak > mib:
                stopped = f"took more than {mib:g} MiB"
            elif not stopped and enough():
                stopped = ENOUGH
            if stopped:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(POLL)
        peak = max(peak, usage.ru_maxrss / 1024 - self._base) if self._base else 0.0
        with self._output as file:
            file.seek(0)
            output = file.read(1 << 20).decode(errors="replace")
        used = usage.ru_utime + usage.ru_stime
        return Ended(os.waitstatus_to_exitcode(status), output, used, peak, stopped)


def call(function: Callable[[], int], cwd: Path | None = None, seconds: float = PATIENCE) -> Ended:
    """`function` in a child, to its end."""
    return Child(function, cwd).wait(seconds)


def fault(ended: Ended, allowed: Iterable[int] = (0, 2)) -> str | None:
    """What is wrong with an end: a traceback, a bug, a hang, or an exit code that is not `allowed`."""
    last = " | ".join(ended.output.strip().splitlines()[-4:])
    if ended.stopped:
        return f"{ended.stopped}: {last}"
    if "Traceback (most recent call last)" in ended.output:
        return f"traceback: {last}"
    return None if ended.code in allowed else f"exit {ended.code}: {last}"


def _be_child(function: Callable[[], int], output: int, cwd: Path | None) -> None:
    """Run `function` as a program of its own and leave, whatever comes."""
    code = 70
    try:
        gc.disable()  # what was there before is not touched, and so not copied
        for stream in (1, 2):
            os.dup2(output, stream)
        sys.stdout = sys.__stdout__ = io.TextIOWrapper(io.FileIO(1, "w"), write_through=True)  # type: ignore[misc]
        sys.stderr = sys.__stderr__ = io.TextIOWrapper(io.FileIO(2, "w"), write_through=True)  # type: ignore[misc]
        warnings.resetwarnings()
        if cwd is not None:
            os.chdir(cwd)
        code = function()
    except SystemExit as error:  # argparse
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _resident_mib(pid: int) -> float:
    """Of process `pid`, where the system says; 0 elsewhere and for one that has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
