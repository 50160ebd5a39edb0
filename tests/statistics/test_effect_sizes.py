"""Effect sizes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslkit.errors import DataError
from sslkit.statistics import cohens_d, cohens_g, cohens_h, odds_ratio

SHARE = st.floats(0, 1)
COUNT = st.integers(0, 500)


def test_cohens_h_by_hand():
    """Cohen 1988, table 6.2.2: phi(0.55) = 1.671 and phi(0.25) = 1.047, so h = 0.62."""
    assert cohens_h(0.55, 0.25) == pytest.approx(0.624, abs=1e-3)
    assert cohens_h(1, 0) == pytest.approx(np.pi)
    assert cohens_h(0.99, 0.98) > cohens_h(0.51, 0.50), "a point counts for more near 1"


def test_cohens_g_and_odds_by_hand():
    assert cohens_g(65, 35) == pytest.approx(0.15)
    assert cohens_g(0, 0) == 0
    assert cohens_g(7, 0) == 0.5
    assert odds_ratio(10, 3) == pytest.approx(3)
    assert odds_ratio(0, 0) == 1
    assert odds_ratio(4, 0) == pytest.approx(9)


def test_cohens_d_by_hand():
    assert cohens_d([3, 4, 5], [1, 2, 3]) == pytest.approx(2)
    assert cohens_d([1, 2, 3], [0, 2, 4]) == pytest.approx(0)
    assert cohens_d([5], [1, 2, 3]) == pytest.approx(3)


def test_without_spread_there_is_no_cohens_d():
    assert cohens_d([0.1] * 3, [0.3] * 3) is None
    assert cohens_d([1], [2]) is None


@given(SHARE, SHARE)
def test_h_swaps_its_sign(first, second):
    assert cohens_h(first, second) == -cohens_h(second, first)
    assert abs(cohens_h(first, second)) <= np.pi + 1e-12


@given(COUNT, COUNT)
def test_g_swaps_its_sign_and_odds_their_side(first, second):
    assert cohens_g(first, second) == pytest.approx(-cohens_g(second, first))
    assert odds_ratio(first, second) == pytest.approx(1 / odds_ratio(second, first))
    assert (cohens_g(first, second) > 0) == (odds_ratio(first, second) > 1)


@given(
    st.lists(st.integers(0, 9), min_size=2, max_size=5), st.lists(st.integers(0, 9), min_size=1, max_size=5)
)
def test_d_swaps_its_sign_and_knows_no_unit(first, second):
    d = cohens_d(first, second)
    if d is None:
        assert len(set(first)) == len(set(second)) == 1
        return
    assert cohens_d(second, first) == pytest.approx(-d)
    assert cohens_d(np.multiply(first, 100), np.multiply(second, 100)) == pytest.approx(d)


@pytest.mark.parametrize("shares", [(1.2, 0.5), (0.5, -0.1), (float("nan"), 0.5)])
def test_what_is_no_proportion_is_refused(shares):
    with pytest.raises(DataError, match="Cohen's h needs proportions between 0 and 1"):
        cohens_h(*shares)


def test_empty_groups_are_refused():
    with pytest.raises(DataError, match="`second` must be one row"):
        cohens_d([1, 2], [])
