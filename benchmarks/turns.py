"""Processes that take turns on the same cores: one is stopped while the other runs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

Slices = list[tuple[float, float]]
"""(begin, end) of each turn, in seconds since the epoch, as the times of files are."""
GRACE = 60.0
"""Seconds that a process gets to end."""


class Taken(NamedTuple):
    """What came of the turns."""

    slices: dict[str, Slices]
    """When each process ran, in earlier calls too."""
    left: list[str]
    """Those that have not ended, as time was up; asked to save and gone."""


def order(names: Sequence[str]) -> Iterator[str]:
    """A B B A A B B A ...: nobody always comes after the same one."""
    forward = True
    while True:
        yield from names if forward else reversed(names)
        forward = not forward


def active(slices: Slices, when: float) -> float:
    """Seconds of `slices` up to the time `when`."""
    return sum(max(0.0, min(end, when) - begin) for begin, end in slices)


def take_turns(
    commands: Mapping[str, Sequence[str]],
    logs: Path,
    environment: Mapping[str, str],
    *,
    seconds: float,
    limit: float = float("inf"),
    until: float = float("inf"),
    earlier: Mapping[str, Slices] | None = None,
) -> Taken:
    """Run all `commands` to their end, in turns of `seconds`.

    A process is stopped with all that it started. What has run for `limit` seconds is asked to end, and so are all at
    `until`.

    Args:
        commands: name -> words.
        logs: folder of NAME.log, to which output goes.
        environment: of all.
        seconds: a turn.
        limit: of one process, over its turns.
        until: seconds since the epoch.
        earlier: turns of calls before, which count as these do.

    Raises:
        SystemExit: one of them failed.
    """
    running: dict[str, subprocess.Popen[bytes]] = {}
    slices: dict[str, Slices] = {name: list((earlier or {}).get(name, ())) for name in commands}
    left, turns = set(commands), order(list(commands))
    try:
        while left and time.time() < until:
            name = next(turns)
            if name not in left:
                continue
            begin = time.time()
            if name in running:
                _signal(running[name], signal.SIGCONT)
            else:
                running[name] = _started(commands[name], logs / f"{name}.log", environment)
            code = _wait(running[name], min(seconds, limit - active(slices[name], begin), until - begin))
            _signal(running[name], signal.SIGSTOP if code is None else signal.SIGKILL)  # what it left behind
            slices[name].append((begin, time.time()))
            if code is not None:
                del running[name]
            if code:
                raise SystemExit(f"{name} ended with {code}:\n{_tail(logs / f'{name}.log')}")
            if code == 0 or active(slices[name], time.time()) >= limit:
                left.remove(name)
    finally:
        for process in running.values():
            _end(process)
    return Taken(slices, [name for name in commands if name in left])


def _started(words: Sequence[str], log: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """In a process group of its own, so that what it starts is stopped with it."""
    with log.open("ab") as file:
        return subprocess.Popen(
            words, stdout=file, stderr=file, env={**os.environ, **environment}, start_new_session=True
        )


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """Its exit code; None where it still runs after `seconds`."""
    try:
        return process.wait(max(seconds, 0.0))
    except subprocess.TimeoutExpired:
        return None


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
        os.killpg(process.pid, number)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    _signal(process, signal.SIGCONT)
    _wait(process, GRACE)
    _signal(process, signal.SIGKILL)  # and what it left behind
    process.wait()


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
