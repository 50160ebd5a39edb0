"""Fields of runs that were made longer, and of runs that begin with another."""

from __future__ import annotations

import pytest

from sslkit import StartFrom
from sslkit.errors import SpecError
from sslkit.specs.extension import Extension, order_problems
from sslkit.specs.load import dump, parse, parse_yaml
from tests import tiny


def entries(*pairs):
    return tuple(Extension(step=step, schedule=schedule) for step, schedule in pairs)


def messages(extended, steps):
    return [(problem.path, problem.message) for problem in order_problems(extended, steps)]


def test_in_order_nothing_is_wrong():
    assert messages(entries((2, "stretch"), (4, "restart")), 6) == []
    assert messages((), 6) == []


def test_each_begins_after_the_one_before():
    extended = entries((4, "stretch"), (4, "restart"), (3, "restart"))
    assert messages(extended, 9) == [
        ("extended.1.step", "4 is not after 4"),
        ("extended.2.step", "3 is not after 4"),
    ]


@pytest.mark.parametrize("steps", [4, 3])
def test_the_last_begins_before_the_end(steps):
    assert messages(entries((4, "stretch")), steps) == [
        ("extended.0.step", f"4 is not before the end of the run, {steps}")
    ]


def test_an_end_in_epochs_is_not_known_yet():
    assert messages(entries((4, "stretch")), None) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"step": 0, "schedule": "stretch"}, "extended.0.step"),
        ({"step": 2, "schedule": "strech"}, "extended.0.schedule"),
        ({"step": 2}, "extended.0.schedule: is missing"),
    ],
)
def test_wrong_fields_are_named(fields, message):
    with pytest.raises(SpecError, match=message):
        tiny.spec(extended=[fields])


@pytest.mark.parametrize("schedule", [{"shape": "constant"}, {"final": 1e-5}])
def test_constant_needs_a_rate_to_stay_at(schedule):
    extended = [{"step": 2, "schedule": "constant"}]
    assert tiny.spec(schedule=schedule, extended=extended).extended[0].step == 2
    with pytest.raises(
        SpecError, match=r"next to 0, as `schedule.final` is 0; choose 'restart' or 'stretch'"
    ):
        tiny.spec(extended=extended)


def test_a_spec_with_lengthenings_is_the_same_from_yaml():
    spec = tiny.spec(extended=[{"step": 2, "schedule": "restart"}, {"step": 5, "schedule": "stretch"}])
    assert parse(parse_yaml(dump(spec), "spec")) == spec
    assert spec != tiny.spec()


def test_a_spec_that_begins_with_another_is_the_same_from_yaml(tmp_path):
    spec = tiny.spec(start_from={"run": str(tmp_path), "checkpoint": "best"})
    assert parse(parse_yaml(dump(spec), "spec")) == spec
    assert spec.start_from == StartFrom(run=tmp_path, checkpoint="best")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "start_from.run: is missing"),
        ({"run": "x", "checkpoint": ""}, "start_from.checkpoint"),
        ({"run": "x", "step": 3}, "start_from.step: is not a field"),
        ({"run": "/nowhere/at/all"}, r"start_from.run: no folder /nowhere/at/all; give that of a run"),
    ],
)
def test_a_wrong_origin_is_named(fields, message):
    with pytest.raises(SpecError, match=message):
        tiny.spec(start_from=fields)
