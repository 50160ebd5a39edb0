"""Processes that take turns: nobody runs in another's turn, and nobody is left behind."""

from __future__ import annotations

import os
import sys
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
    slices = turns.take_turns(both, tmp_path, {}, seconds=0.15)
    assert min(map(len, slices.values())) >= 2, "they took turns"
    for name, other in ("AB", "BA"):
        ticks = [float(line) for line in (tmp_path / f"{name}.log").read_text().split()]
        assert len(ticks) == 40, "it went on where it was stopped"
        # a tick may be written just as the signal comes
        inside = [t for t in ticks for begin, end in slices[other] if begin + 0.03 < t < end - 0.03]
        assert inside == []


def test_what_runs_for_its_limit_is_ended(turns, tmp_path):
    slices = turns.take_turns(
        {"A": words(ENDLESS), "B": words(ENDLESS)}, tmp_path, {}, seconds=0.1, limit=0.25
    )
    for when in slices.values():
        assert 0.25 <= turns.active(when, float("inf")) < 2


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
