"""The cost of a step: every lever is a spec, times are paired by round, and the table says how many images pass."""

from __future__ import annotations

import pytest

from tests.benchmarks.test_time_to_accuracy import TINY


@pytest.fixture
def script(scripts, monkeypatch):
    monkeypatch.setattr(scripts("time_to_accuracy"), "TRAINING", 200)
    monkeypatch.setattr(scripts("time_to_accuracy"), "HELD_OUT", 50)
    return scripts("simclr_step")


def test_ratios_are_paired_by_round(script):
    seen = {"none": [(1.0, 3.0), (2.0, 6.0), (1.0, 3.0)], "half": [(1.0, 1.0), (2.0, 2.0), (0.5, 0.5)]}
    lines = script.table(seen).splitlines()
    assert lines[2] == "| none | 1000 | 3000 | 1.00 (1.00 to 1.00) |"
    assert lines[3] == "| half | 1000 | 1000 | 2.00 (2.00 to 4.00) |"


def test_rounds_turn_round_and_the_first_does_not_count(script):
    calls = []
    parts = {name: (lambda n, m=name: calls.append((m, n)), lambda n: None) for name in "AB"}
    seen = script.measured(parts, 2)
    assert calls == [("A", 0), ("B", 0), ("B", 1), ("A", 1), ("A", 2), ("B", 2)]
    assert {name: len(rounds) for name, rounds in seen.items()} == {"A": 2, "B": 2}
    assert all(seconds >= 0 for rounds in seen.values() for pair in rounds for seconds in pair)


def test_every_lever_trains(script, cifar10, capsys):
    script.main(["--root", str(cifar10), "--rounds", "1", "--set", *TINY])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]] == list(script.LEVERS)
