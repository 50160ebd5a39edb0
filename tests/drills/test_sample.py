"""A try of each drill."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.drills.drills import DRILLS

QUICK = [kind.name for kind in DRILLS if kind.name != "endurance"]


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """(the tries, what was printed) of one try each, in a process of its own."""
    state = tmp_path_factory.mktemp("drills") / "state.jsonl"
    words = [sys.executable, "-m", "tests.drills", "--sample", "--seconds", "0", "--state", str(state)]
    words += [word for name in QUICK for word in ("--only", name)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=500)
    printed = done.stdout + done.stderr
    assert state.exists(), printed
    tries = {one["drill"]: one for one in map(json.loads, state.read_text().splitlines())}
    return tries, printed, done.returncode


@pytest.mark.parametrize("name", QUICK)
def test_it_holds(sample, name):
    tries, printed, _ = sample
    assert name in tries, printed
    assert tries[name]["verdict"] in {"held", "skipped"}, tries[name]["reason"]


def test_the_table_and_the_exit_code_say_so(sample):
    _, printed, code = sample
    assert code == 0, printed
    assert printed.count("| 0 |") == len(QUICK)
