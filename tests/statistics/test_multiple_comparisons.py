"""Holm's correction, and the words for what was found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslkit.errors import DataError
from sslkit.statistics import holm, p_text, significant, verdict
from sslkit.statistics.paired_tests import Difference
from tests.statistics.simulate import TIMES

ROW = st.lists(st.floats(0, 1), max_size=8)


def difference(estimate=0.02, low=0.01, high=0.03, p=0.004, level=0.95) -> Difference:
    return Difference(estimate, low, high, level, p, "paired bootstrap")


def test_holm_by_hand():
    """0.01 x 4, 0.013 x 3 raised to 0.04, 0.02 x 2 = 0.04, 0.9."""
    assert holm([0.02, 0.01, 0.9, 0.013]) == pytest.approx([0.04, 0.04, 0.9, 0.04])
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_at_its_ends():
    assert holm([]).shape == (0,)
    assert holm([0.03]) == pytest.approx([0.03])
    assert holm([0.6, 0.7]) == pytest.approx([1, 1])


def definition(p_values: list[float]) -> list[float]:
    """Of the adjusted p of the i-th smallest: the largest (m - j + 1) p_j of those up to it (as statsmodels has it)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    for place, i in enumerate(order):
        steps = [(len(p_values) - j) * p_values[order[j]] for j in range(place + 1)]
        adjusted[i] = min(1.0, max(steps))
    return adjusted


@given(ROW)
def test_holm_is_its_definition(row):
    assert holm(row) == pytest.approx(definition(row))


@given(ROW.filter(bool), st.randoms(use_true_random=False))
def test_holm_keeps_the_order_and_only_raises(row, random):
    adjusted = holm(row)
    assert (adjusted >= np.array(row)).all()
    assert (adjusted <= 1).all()
    assert (np.diff(adjusted[np.argsort(row, kind="stable")]) >= 0).all()
    shuffled = random.sample(range(len(row)), len(row))
    assert holm(np.array(row)[shuffled]) == pytest.approx(adjusted[shuffled])


def test_holm_keeps_the_level_over_many_comparisons():
    p = np.random.default_rng(0).random((TIMES, 10))
    assert np.mean((p <= 0.05).any(1)) > 0.3, "one in twenty tests cries wolf"
    assert 0.03 <= np.mean([(holm(row) <= 0.05).any() for row in p]) <= 0.07


@pytest.mark.parametrize("p", [[0.5, 1.1], [-0.1], [np.nan], [[0.1]], 0.5])
def test_what_are_no_probabilities_is_refused(p):
    with pytest.raises(DataError, match="numbers between 0 and 1"):
        holm(p)


def test_verdicts_name_the_better_one():
    assert verdict("A", "B", difference()) == "A better than B by 2.00 points [1.00, 3.00], p = 0.004"
    other = difference(-0.02, -0.03, -0.01, 1e-5)
    assert verdict("A", "B", other) == "B better than A by 2.00 points [1.00, 3.00], p < 0.001"


def test_verdicts_of_what_has_no_direction_say_no_better():
    found = verdict("A", "B", difference(1.5, 0.25, 2.75, 0.012), points=False, better=None)
    assert found == "A higher than B by 1.5 [0.25, 2.75], p = 0.012"


def test_where_lower_is_better_the_lower_one_is_named():
    loss = difference(1.5, 0.25, 2.75, 0.012)
    found = verdict("A", "B", loss, points=False, better="lower")
    assert found == "B better than A by 1.5 [0.25, 2.75] (lower is better), p = 0.012"
    assert verdict("A", "B", loss, points=False) == "A better than B by 1.5 [0.25, 2.75], p = 0.012"


@pytest.mark.parametrize(
    ("found", "adjusted"),
    [
        (difference(p=0.06), None),
        (difference(p=0.004), 0.051),
        (difference(low=-0.001, p=0.049), None),
        (difference(p=0.004, level=0.999), None),
        (difference(0.0, -0.01, 0.01, 1.0), None),
    ],
)
def test_without_evidence_there_is_no_significant_difference(found, adjusted):
    assert not significant(found, adjusted)
    assert verdict("A", "B", found, adjusted) == "no significant difference"


def test_the_level_of_the_interval_decides():
    assert significant(difference(p=0.05))
    assert significant(difference(p=0.09, level=0.9))
    assert not significant(difference(p=0.02, level=0.99))
    assert verdict("A", "B", difference(), 0.03).endswith("p = 0.03"), "the adjusted one is said"


def test_p_values_are_said_shortly():
    assert [p_text(p) for p in (1.0, 0.5, 0.04567, 0.001, 0.0009)] == [
        "p = 1", "p = 0.5", "p = 0.046", "p = 0.001", "p < 0.001",
    ]  # fmt: skip
