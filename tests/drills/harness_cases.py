"""Forks and numbered calls, without torch and in a process of its own: `python -m tests.drills.harness_cases`."""

from __future__ import annotations

import errno
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sslkit.errors import StorageError
from sslkit.runtime.atomic_files import write_text
from sslkit.runtime.line_file import LineFile
from tests.drills.file_calls import KILLED, FileCalls, die_at, full_disk
from tests.drills.forks import ENOUGH, Child, Ended, call, command, fault


def a_child_ends_with_its_code_and_what_it_printed(folder: Path) -> None:
    ended = call(command("validate", folder / "none.yaml"), folder)
    assert ended.code == 2
    assert "none.yaml" in ended.output
    assert fault(ended) is None
    assert 0 < ended.seconds < 60


def a_traceback_a_bug_and_a_signal_are_faults(folder: Path) -> None:
    def broken() -> int:
        raise KeyError("x")

    ended = call(broken)
    assert ended.code == 70
    assert "traceback" in str(fault(ended))
    assert "exit 1: " in str(fault(call(lambda: 1)))
    killed = Child(lambda: time.sleep(60) or 0)
    killed.send(signal.SIGKILL)
    ended = killed.wait()
    assert ended.code == -signal.SIGKILL
    assert fault(ended) == "exit -9: "
    assert fault(ended, allowed=(-9,)) is None


def a_child_that_hangs_or_swells_is_stopped(folder: Path) -> None:
    assert fault(call(lambda: time.sleep(60) or 0, seconds=0.2)) == "took longer than 0.2 s: "

    mark = folder / "mark"

    def going_on() -> int:
        mark.touch()
        time.sleep(60)
        return 0

    ended = Child(going_on).wait(enough=mark.exists)
    assert (ended.stopped, ended.code) == (ENOUGH, -signal.SIGKILL)

    def swell() -> int:
        block = bytearray(os.urandom(1) * (200 << 20))
        time.sleep(60)
        return len(block)

    ended = Child(swell).wait(mib=100)
    assert fault(ended) == "took more than 100 MiB: "
    assert ended.mib > 100


def each_call_can_be_the_last(folder: Path) -> None:
    """A file that is replaced as a whole is the old one or the new one wherever its writer ends."""
    path, ends = folder / "a.txt", list[str]()
    number, code = 0, KILLED
    while code == KILLED:
        number += 1
        path.write_text("old")
        code = call(_replacing(path, number)).code
        ends.append(path.read_text())
        assert [p.name for p in folder.iterdir() if p.read_text() == "ne"] == [] or code == KILLED
    assert code == 0
    assert set(ends) == {"old", "new words"}
    assert ends == sorted(ends, key=["old", "new words"].index)
    assert number > 6


def _replacing(path: Path, number: int) -> Callable[[], int]:
    def run() -> int:
        FileCalls(die_at(number)).install()
        write_text(path, "new words")
        return 0

    return run


def writes_can_be_cut_in_half(folder: Path) -> None:
    def run() -> int:
        FileCalls(die_at(4)).install()  # open, write, half, fsync or close
        with (folder / "b").open("w") as file:
            file.write("0123456789")
        return os._exit(5) or 0

    def half() -> int:
        FileCalls(die_at(3)).install()
        with (folder / "c").open("w") as file:
            file.write("0123456789")
        return 0

    assert call(run).code == 5
    assert (folder / "b").read_text() == "0123456789"
    assert call(half).code == KILLED
    assert (folder / "c").read_text() == "01234"


def a_disk_is_full_for_a_while(folder: Path) -> None:
    def run() -> int:
        FileCalls(full_disk(range(3, 6))).install()
        with pytest.raises(StorageError, match="No space left") as caught:
            write_text(folder / "d", "words")
        assert getattr(caught.value.__cause__, "errno", None) == errno.ENOSPC
        write_text(folder / "d", "later")
        return 0

    assert call(run).code == 0
    assert (folder / "d").read_text() == "later"


def lines_that_were_cut_are_taken_back(folder: Path) -> None:
    def run() -> int:
        messages = list[str]()
        FileCalls(full_disk(range(3, 5))).install()
        file = LineFile(folder / "e", messages.append)
        file.add(["one line"])
        assert len(messages) == 1
        assert list(file.held) == ["one line"]
        file.add(["two"])
        return 0

    ended = call(run)
    assert ended.code == 0, ended.output
    assert (folder / "e").read_text() == "one line\ntwo\n"


CASES = (
    a_child_ends_with_its_code_and_what_it_printed,
    a_traceback_a_bug_and_a_signal_are_faults,
    a_child_that_hangs_or_swells_is_stopped,
    each_call_can_be_the_last,
    writes_can_be_cut_in_half,
    a_disk_is_full_for_a_while,
    lines_that_were_cut_are_taken_back,
)


def main() -> int:
    assert isinstance(fault(Ended(1, "", 0.0, 0.0)), str)
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            case(Path(folder))
        print(f"held: {case.__name__}", flush=True)
    assert "torch" not in sys.modules
    return 0


if __name__ == "__main__":
    sys.exit(main())
