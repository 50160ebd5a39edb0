"""Processes that take turns: nobody runs in another's turn, and nobody is left behind."""

from __future__ import annotations

import os
import sys
import time
from itertools import islice

import pytest

TICKER = "import sys, time\nfor _ in range(40):\n    print(time.time(), flush=True)\n    time.sleep(0.01)\n"
PARENT = "import subprocess, sys\nsubprocess.run([sys.executable, '-S', '-c', sys.argv[1]], check=True)\n"
"""Ticks by a process of its own, as a loader's worker would."""
ENDLESS = "import time\nwhile True:\n    time.sleep(0.01)\n"


@pytest.fixture
def turns(scripts):
    return scripts("turns")


def words(code: str, *more: str) -> list[str]:
    return [sys.executable, "-S", "-c", code, *more]


def test_nobody_always_comes_second(turns):
    assert "".join(islice(turns.order("AB"), 8)) == "ABBAABBA"


@pytest.mark.parametrize(
    ("when", "seconds"), [(5.0, 0.0), (10.0, 0.0), (11.5, 1.5), (15.0, 2.0), (21.0, 3.0), (99.0, 5.0)]
)
def test_a_clock_runs_in_its_turns_alone(turns, when, seconds):
    assert turns.active([(10.0, 12.0), (20.0, 23.0)], when) == seconds


def test_a_process_and_its_workers_stand_still_while_the_other_runs(turns, tmp_path):
    both = {"A": words(PARENT, TICKER), "B": words(TICKER)}
    slices, left = turns.take_turns(both, tmp_path, {}, seconds=0.15)
    assert left == []
    assert min(map(len, slices.values())) >= 2, "they took turns"
    for name, other in ("AB", "BA"):
        ticks = [float(line) for line in (tmp_path / f"{name}.log").read_text().split()]
        assert len(ticks) == 40, "it went on where it was stopped"
        # a tick may be written just as the signal comes
        inside = [t for t in ticks for begin, end in slices[other] if begin + 0.03 < t < end - 0.03]
        assert inside == []


def test_what_runs_for_its_limit_is_ended(turns, tmp_path):
    slices, left = turns.take_turns(
        {"A": words(ENDLESS), "B": words(ENDLESS)}, tmp_path, {}, seconds=0.1, limit=0.25
    )
    assert left == []
    for when in slices.values():
        assert 0.25 <= turns.active(when, float("inf")) < 2


SAVES = """
import pathlib, signal, sys, time
file = pathlib.Path(sys.argv[1])
file.exists() and sys.exit(0)
signal.signal(signal.SIGTERM, lambda *_: (file.write_text("saved"), sys.exit(143)))
while True:
    time.sleep(0.01)
"""


def test_when_time_is_up_all_are_asked_to_save_and_the_next_call_counts_on(turns, tmp_path):
    both = {name: words(SAVES, str(tmp_path / f"saved-{name}")) for name in "AB"}
    first = turns.take_turns(both, tmp_path, {}, seconds=0.3, until=time.time() + 1)
    assert first.left == ["A", "B"]
    assert all((tmp_path / f"saved-{name}").read_text() == "saved" for name in "AB")
    spent = {name: turns.active(when, float("inf")) for name, when in first.slices.items()}
    assert all(0.25 < seconds < 2 for seconds in spent.values())
    second = turns.take_turns(both, tmp_path, {}, seconds=5, earlier=first.slices)
    assert second.left == []
    for name, when in second.slices.items():
        assert when[: len(first.slices[name])] == first.slices[name]
        assert turns.active(when, float("inf")) > spent[name]


def test_one_that_fails_is_told_with_its_last_lines_and_the_other_ends(turns, tmp_path):
    pid = tmp_path / "pid"
    other = f"import os\nopen({str(pid)!r}, 'w').write(str(os.getpid()))\n{ENDLESS}"
    with pytest.raises(SystemExit, match=r"B ended with 3:\nout of luck"):
        turns.take_turns(
            {"A": words(other), "B": words("print('out of luck'); raise SystemExit(3)")},
            tmp_path,
            {},
            seconds=1.5,
        )
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_the_environment_is_that_of_all(turns, tmp_path):
    show = words("import os; print(os.environ['OMP_NUM_THREADS'])")
    turns.take_turns({"A": show, "B": show}, tmp_path, {"OMP_NUM_THREADS": "7"}, seconds=5)
    assert [(tmp_path / f"{name}.log").read_text().strip() for name in "AB"] == ["7", "7"]
