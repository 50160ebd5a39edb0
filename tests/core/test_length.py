"""Where schedules are at each step of a run that was made longer."""

from __future__ import annotations

import pytest

from sslkit.core.context import Length


def clocks(length):
    return [length.clock(step) for step in range(length.steps)]


def test_of_a_run_that_was_never_longer_it_is_step_and_steps():
    assert clocks(Length(3, 2)) == [(0, 3), (1, 3), (2, 3)]


@pytest.mark.parametrize(
    ("extended", "expected"),
    [
        ([(2, "stretch")], [(0, 2), (1, 2), (2, 4), (3, 4)]),
        ([(2, "constant")], [(0, 2), (1, 2), (1, 2), (1, 2)]),
        ([(2, "restart")], [(0, 2), (1, 2), (0, 2), (1, 2)]),
        ([(1, "restart")], [(0, 1), (0, 3), (1, 3), (2, 3)]),
        ([(1, "restart"), (3, "stretch")], [(0, 1), (0, 2), (1, 2), (2, 3)]),
        ([(2, "restart"), (3, "constant")], [(0, 2), (1, 2), (0, 1), (0, 1)]),
        ([(2, "constant"), (3, "constant")], [(0, 2), (1, 2), (1, 2), (1, 2)]),
        ([(1, "constant"), (2, "restart")], [(0, 1), (0, 1), (0, 2), (1, 2)]),
        ([(1, "constant"), (2, "stretch")], [(0, 1), (0, 1), (2, 4), (3, 4)]),
        ([(1, "stretch"), (2, "stretch")], [(0, 1), (1, 2), (2, 4), (3, 4)]),
    ],
)
def test_it_goes_on_as_was_chosen(extended, expected):
    assert clocks(Length(4, 2, tuple(extended))) == expected


def test_steps_at_which_it_ended():
    length = Length(6, 2, ((2, "stretch"), (4, "restart")))
    assert [step for step in range(8) if length.ends(step)] == [2, 4, 6]


def test_progress_is_the_share_of_the_schedule():
    length = Length(8, 2, ((4, "restart"),))
    assert [length.progress(step) for step in (0, 2, 4, 6)] == [0.0, 0.5, 0.0, 0.5]
    assert length.epoch(6) == 3, "epochs are counted from the beginning"
