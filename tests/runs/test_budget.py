"""What runs were given until they were measured, and what is said of unequal ones."""

from __future__ import annotations

import json

import pytest

from sslkit.runs.budget import (
    Budget,
    budget_of,
    flops_text,
    mean_budget,
    shown,
    text_of,
    total_flops,
    warning,
)

PASS = {"net": "student", "guide": False, "tokens_per_step": 100, "stages": []}
TEACHER = {**PASS, "net": "teacher"}
LOCK = {
    "spec": {"batch_size": 32},
    "resolved": {"steps_per_epoch": 10, "passes": [PASS, TEACHER], "flops": {0: 5, 10: 7}},
}


def folder(path, step, seconds=12.0):
    (path / "summary.json").write_text(json.dumps({"step": step, "seconds": seconds}))
    return path


def test_everything_that_a_lock_and_a_summary_tell(tmp_path):
    assert budget_of(folder(tmp_path, 25), LOCK, 25) == Budget(25, 2.5, 800, 2500, 10 * 5 + 15 * 7, 12.0)


def test_the_time_until_an_earlier_step_is_not_known(tmp_path):
    found = budget_of(folder(tmp_path, 25), LOCK, 10)
    assert found == Budget(10, 1.0, 320, 1000, 50, None)
    assert shown([found]) == ["steps", "epochs", "images", "tokens", "flops"]


@pytest.mark.parametrize("text", [None, "{", "{}", "[]"])
def test_a_run_that_goes_on_has_no_time(tmp_path, text):
    if text is not None:
        (tmp_path / "summary.json").write_text(text)
    assert budget_of(tmp_path, {"spec": {}, "resolved": {}}, 4) == Budget(4.0)


def test_seeds_are_averaged_where_all_know():
    one, two = Budget(10, 1.0, 320, None, 50, 2.0), Budget(10, 1.0, 320, 7, 50, 4.0)
    assert mean_budget([one, two]) == Budget(10, 1.0, 320, None, 50, 3.0)


def test_operations_are_summed_stage_by_stage():
    assert [total_flops({0: 10, 3: 2, 6: 5}, steps) for steps in (0, 2, 3, 7)] == [0, 20, 30, 41]


def test_equal_budgets_are_not_spoken_of():
    assert warning(["a", "b"], [Budget(100, seconds=1.0), Budget(100, seconds=9.0)]) is None
    assert warning(["a", "b"], [Budget(1000), Budget(1005)]) is None
    assert warning(["a"], [Budget(100)]) is None
    assert warning([], []) is None


def test_unequal_budgets_are_said_with_their_factors():
    text = warning(["long", "short"], [Budget(600, 50.0, 19200, 1e6), Budget(36, 3.0, 1152, 1e4)])
    assert text == (
        "Budgets differ, by these factors: steps by 16.7, epochs by 16.7, images by 16.7, tokens by 100 "
        "(steps: long 600, short 36). Differences between scores may come from that alone."
    )
    same_steps = warning(["a", "b"], [Budget(100, flops=4e12), Budget(100, flops=1e12)])
    assert same_steps is not None
    assert same_steps.startswith(
        "Budgets differ, by these factors: FLOPs by 4 (FLOPs: a 4 TFLOP, b 1 TFLOP)."
    )


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("steps", 1234.0, "1,234"),
        ("epochs", 2.5, "2.5"),
        ("flops", 2.5e15, "2.5 PFLOP"),
        ("seconds", 3725.4, "1:02:05"),
        ("tokens", None, "-"),
    ],
)
def test_quantities_for_people(name, value, text):
    assert text_of(name, value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(3.06e11, "306 GFLOP"), (2.5e15, "2.5 PFLOP"), (1e12, "1 TFLOP"), (5e6, "5 MFLOP")],
)
def test_flops_for_people(value, text):
    assert flops_text(value) == text
