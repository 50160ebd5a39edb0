"""Tests of two runs on the same images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sslkit.errors import DataError, SpecError
from sslkit.statistics import mcnemar, paired_bootstrap, verdict
from tests.statistics.simulate import TIMES, TwoRuns, pairs

EQUAL = [TwoRuns(500, 0.1), TwoRuns(1000, 0.04), TwoRuns(2000, 0.2)]
ROWS = st.integers(2, 40).flatmap(lambda n: st.tuples(*[st.lists(st.booleans(), min_size=n, max_size=n)] * 2))


def rejected(p_values) -> float:
    return float(np.mean([p <= 0.05 for p in p_values]))


def disagreeing(only_first: int, only_second: int, agreeing: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Rows with so many images that one run has right and the other not."""
    ones, zeros = np.ones, np.zeros
    first = [ones(only_first), zeros(only_second), ones(agreeing)]
    return np.concatenate(first), np.concatenate([1 - first[0], 1 - first[1], first[2]])


@pytest.mark.parametrize("world", EQUAL, ids=str)
def test_mcnemar_keeps_its_level(world):
    assert 0.03 <= rejected(mcnemar(*pair).p for pair in pairs(world, 1)) <= 0.07


@pytest.mark.parametrize("world", EQUAL, ids=str)
def test_the_paired_bootstrap_keeps_its_level_and_its_interval_covers(world):
    found = [paired_bootstrap(*pair, seed=i, resamples=2000) for i, pair in enumerate(pairs(world, 2))]
    assert 0.03 <= rejected(d.p for d in found) <= 0.07
    assert 0.93 <= np.mean([d.low <= 0 <= d.high for d in found]) <= 0.97


@pytest.mark.parametrize("world", [TwoRuns(500, 0.1, 0.03), TwoRuns(2000, 0.06, 0.02)], ids=str)
def test_intervals_cover_a_true_difference_and_tests_find_it(world):
    found = [paired_bootstrap(*pair, seed=i, resamples=2000) for i, pair in enumerate(pairs(world, 3))]
    assert 0.93 <= np.mean([d.low <= world.lead <= d.high for d in found]) <= 0.97
    power = rejected(d.p for d in found)
    assert power > 0.4
    assert rejected(mcnemar(*pair).p for pair in pairs(world, 3)) == pytest.approx(power, abs=0.03)


def test_the_bootstrap_keeps_its_level_for_values_that_are_not_0_or_1():
    generator = np.random.default_rng(4)
    found = []
    for i in range(TIMES):
        shared = generator.beta(2, 1, 150)
        first, second = (np.clip(shared + generator.exponential(0.1, 150), 0, 2) for _ in range(2))
        found.append(paired_bootstrap(first, second, seed=i, resamples=1000))
    assert 0.03 <= rejected(d.p for d in found) <= 0.07
    assert 0.93 <= np.mean([d.low <= 0 <= d.high for d in found]) <= 0.97


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    [(0, 0, 1.0), (3, 3, 1.0), (1, 0, 0.5), (0, 5, 0.03125), (10, 2, 0.0224609375), (59, 6, 3.6e-12)],
)
def test_mcnemar_by_hand(only_first, only_second, p):
    """Mid-p: the two-sided exact p less the probability of the observed table (Fagerland et al. 2013)."""
    found = mcnemar(*disagreeing(only_first, only_second))
    assert found[:2] == (only_first, only_second)
    assert found.p == pytest.approx(p, rel=0.1 if p < 1e-6 else 1e-9)


def test_mid_p_lies_between_half_the_exact_p_and_the_whole():
    for only_first, only_second in [(12, 5), (3, 9), (40, 22)]:
        exact = stats.binomtest(only_first, only_first + only_second).pvalue
        assert exact / 2 < mcnemar(*disagreeing(only_first, only_second)).p < exact


def test_both_tests_agree():
    first, second = disagreeing(60, 40, 900)
    bootstrap = paired_bootstrap(first, second, resamples=100_000)
    assert bootstrap.p == pytest.approx(mcnemar(first, second).p, abs=0.004)
    assert bootstrap.estimate == pytest.approx(0.02)
    error = ((0.1 - 0.02**2) / 1000) ** 0.5
    assert bootstrap.low == pytest.approx(0.02 - 1.96 * error, abs=0.0011)
    assert bootstrap.high == pytest.approx(0.02 + 1.96 * error, abs=0.0011)


@given(ROWS)
def test_mcnemar_is_symmetric(rows):
    one, two = mcnemar(*rows), mcnemar(*rows[::-1])
    assert (one.only_first, one.only_second, one.p) == (two.only_second, two.only_first, two.p)
    assert 0 < one.p <= 1


@given(ROWS, st.integers(0, 3))
def test_the_bootstrap_swaps_its_signs(rows, seed):
    one, two = (paired_bootstrap(*r, seed=seed, resamples=200) for r in (rows, rows[::-1]))
    assert one.p == two.p
    assert (one.estimate, one.low, one.high) == pytest.approx((-two.estimate, -two.high, -two.low), abs=1e-12)
    assert one.low - 1e-12 <= one.high


@given(st.lists(st.booleans(), min_size=1, max_size=50))
def test_identical_predictions_do_not_differ(row):
    difference = paired_bootstrap(row, row, resamples=100)
    assert mcnemar(row, row).p == difference.p == 1
    assert (difference.estimate, difference.low, difference.high) == (0, 0, 0)
    assert verdict("a", "b", difference) == "no significant difference"


def test_p_is_never_0():
    difference = paired_bootstrap(np.ones(400), np.zeros(400), resamples=999)
    assert difference.p == 1 / 1000
    assert difference[:3] == (1, 1, 1)


def test_the_seed_decides():
    rows = disagreeing(9, 4)
    assert paired_bootstrap(*rows, seed=1) == paired_bootstrap(*rows, seed=1)
    assert paired_bootstrap(*rows, seed=1).p != paired_bootstrap(*rows, seed=2).p


@pytest.mark.parametrize("test", [mcnemar, paired_bootstrap])
def test_rows_of_other_lengths_are_refused(test):
    with pytest.raises(DataError, match="paired values must be equally many, got 3 and 2"):
        test([0, 1, 1], [0, 1])
    with pytest.raises(DataError, match="`second` must be one row of at least 1 value"):
        test([0], [])


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(DataError, match=r"`second` must say of each image whether it was right: 0 or 1"):
        mcnemar([0, 1], [0, 0.5])
    with pytest.raises(SpecError, match="level"):
        paired_bootstrap([0, 1], [0, 1], level=2)
