"""Training time, energy and throughput."""

from __future__ import annotations

import pytest

from sslkit.train.watch import timer
from sslkit.train.watch.energy import Counter, Meter
from sslkit.train.watch.timer import Clock


@pytest.fixture
def now(monkeypatch):
    """A time that tests move: `now[0]`."""
    time = [1000.0]
    monkeypatch.setattr(timer.time, "monotonic", lambda: time[0])
    return time


def test_earlier_parts_of_the_run_count(now):
    watch = Clock(30.0)
    assert watch.seconds == 30.0
    now[0] += 5
    assert watch.seconds == 35.0


def test_the_rate_is_that_since_the_last_call(now):
    watch = Clock()
    now[0] += 2
    assert watch.rate(100) == 50.0
    now[0] += 1
    assert watch.rate(400) == 300.0


def test_a_resumed_run_starts_its_rate_afresh(now):
    watch = Clock(60.0)
    now[0] += 1
    watch.rate(5000)
    now[0] += 2
    assert watch.rate(5200) == 100.0


def test_evaluations_are_left_out(now):
    watch = Clock()
    now[0] += 1
    with watch.paused():
        now[0] += 500
    now[0] += 1
    assert watch.seconds == 2.0
    assert watch.rate(10) == 5.0


def test_a_pause_inside_a_pause_counts_once(now):
    """As of an evaluation that a resumed run owes; time would run below zero, and the checkpoint be refused."""
    watch = Clock(1.0)
    with watch.paused():
        now[0] += 10
        with watch.paused():
            now[0] += 500
        assert watch.seconds == 1.0, "a checkpoint is written here"
        now[0] += 10
        assert watch.seconds == 1.0
    now[0] += 2
    assert watch.seconds == 3.0


def test_a_pause_that_fails_is_left_out_too(now):
    watch = Clock()

    def evaluate():
        with watch.paused():
            now[0] += 500
            raise KeyError

    with pytest.raises(KeyError):
        evaluate()
    assert watch.seconds == 0.0


def test_no_time_at_all_is_no_division_by_zero(now):
    assert Clock().rate(1) == pytest.approx(1e9)


def test_energy_runs_with_the_time(now):
    """A watt, as long as time passes."""
    watch = Clock(meter=Meter([Counter(lambda: now[0], 1e9, "CPU")]))
    now[0] += 2
    watch.rate(1)
    now[0] += 3
    with watch.paused():
        now[0] += 500
    now[0] += 4
    watch.rate(2)
    assert watch.meter.joules == watch.seconds == 9.0
