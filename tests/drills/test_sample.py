"""A try of each drill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.drills.drills import DRILLS

QUICK = [kind.name for kind in DRILLS if kind.name != "endurance"]


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """(the tries, what was printed, the exit code) of one try each, in a process of its own.

    Those of a larger sample, where `DRILLS` names the folder of what it left, as `.ci/run` does.
    """
    if done := os.environ.get("DRILLS"):
        return tries_in(Path(done) / "state.jsonl"), (Path(done) / "printed").read_text(), 0
    state = tmp_path_factory.mktemp("drills") / "state.jsonl"
    words = [sys.executable, "-m", "tests.drills", "--sample", "--seconds", "0", "--state", str(state)]
    words += [word for name in QUICK for word in ("--only", name)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=500)
    printed = done.stdout + done.stderr
    assert state.exists(), printed
    return tries_in(state), printed, done.returncode


def tries_in(state):
    """Drill -> a try of it."""
    return {one["drill"]: one for one in map(json.loads, state.read_text().splitlines())}


@pytest.mark.parametrize("name", QUICK)
def test_it_holds(sample, name):
    tries, printed, _ = sample
    assert name in tries, printed
    assert tries[name]["verdict"] in {"held", "skipped"}, tries[name]["reason"]


def test_the_table_and_the_exit_code_say_so(sample):
    _, printed, code = sample
    assert code == 0, printed
    rows = [line for line in printed.splitlines() if line.startswith("| `")]
    assert len(rows) >= len(QUICK)
    assert [row for row in rows if not row.endswith("| 0 |")] == [], "the last column counts what failed"
