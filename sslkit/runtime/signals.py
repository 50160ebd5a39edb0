"""Signal handling: the first signal saves and stops a run, a second one stops it at once."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from types import FrameType, TracebackType
from typing import Self, final

from sslkit.errors import Interrupted

ALWAYS = ("SIGTERM", "SIGINT")
"""Listened to whoever handled them before."""
UNLESS_HANDLED = ("SIGHUP", "SIGUSR1", "SIGUSR2")
"""What schedulers send before time is up: listened to where the program has no handler of its own."""
SAME = 2.0
"""Seconds within which a second signal is the first one again: a terminal and `torchrun` both pass it on."""
SIGNAL_EXIT = 128
"""What shells add to the number of the signal that ended a program."""


Handler = Callable[[int, FrameType | None], object] | int | None
"""What a signal may be handled by."""


class Abandoned(BaseException):
    """A signal came in the midst of work that a resumed run makes again; passes through `except Exception`."""


def exit_code(name: str) -> int:
    """What a program exits with that the signal `name` ended."""
    return SIGNAL_EXIT + int(getattr(signal, name, signal.SIGTERM))  # as of another rank


def listened() -> list[signal.Signals]:
    """The signals of this system that ask a run to stop, without those that whoever started it ignores.

    `nohup` ignores SIGHUP, and a shell SIGINT of what it starts in the background.
    """
    wanted: list[signal.Signals] = []
    for name in (*ALWAYS, *UNLESS_HANDLED):
        number = getattr(signal, name, signal.SIGTERM)  # Windows has SIGTERM and SIGINT only
        handler = signal.getsignal(number)
        free = name in ALWAYS or handler is signal.SIG_DFL
        if free and handler is not signal.SIG_IGN and number not in wanted:
            wanted.append(number)
    return wanted


def leave_signals(worker: int) -> None:
    """Start of a worker process: signals to the whole process group are the main process's to handle.

    Ctrl-C and `timeout` reach every process. A worker that died of it would end the run before it is saved.
    """
    for name in (*ALWAYS, *UNLESS_HANDLED):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def listen(note: Callable[[int, FrameType | None], None]) -> dict[int, Handler]:
    """Handle the signals that stop a run by `note`, in the main thread only, and return their handlers of before."""
    previous: dict[int, Handler] = {}
    with contextlib.suppress(ValueError):  # not the main thread: its owner handles signals
        for number in listened():
            previous[number] = signal.signal(number, note)
    return previous


def give_back(previous: Mapping[int, Handler]) -> None:
    """Undo `listen`."""
    for number, handler in previous.items():
        signal.signal(number, handler)


@final
class StopRequest:
    """The signal handlers of a run that trains."""

    def __init__(self, last: Callable[[], str] = lambda: "", speaks: bool = True) -> None:
        """`last`: says where the last checkpoint is; `speaks`: whether a first signal is answered on stderr."""
        self.signal: str | None = None
        self._last, self._speaks = last, speaks
        self._since = 0.0
        self._abandoning = False
        self._previous: dict[int, Handler] = {}

    def __enter__(self) -> Self:
        """Listen, where this is the main thread."""
        self._previous = listen(self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back."""
        give_back(self._previous)

    @contextlib.contextmanager
    def abandoning(self) -> Iterator[None]:
        """Around work that a signal cuts off, as a resumed run makes it again.

        Raises:
            Abandoned: a signal came, before the block or in it.
        """
        before, self._abandoning = self._abandoning, True
        try:
            if self.signal is not None:
                raise Abandoned
            yield
        finally:
            self._abandoning = before

    def _note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal, between two operations of the main thread."""
        name, now = signal.Signals(number).name, time.monotonic()
        if self.signal is not None:
            if now - self._since >= SAME:
                raise Interrupted(f"{name} after {self.signal}: left at once. {self._last()}", name)
            return
        self.signal, self._since = name, now
        self._tell(f"{name}: saving, then leaving; a second signal leaves at once")
        if self._abandoning:
            raise Abandoned

    def _tell(self, text: str) -> None:
        """Past Python's buffers, in whose midst a signal may come."""
        if self._speaks:
            with contextlib.suppress(OSError, ValueError):
                os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"\n{text}\n".encode())
