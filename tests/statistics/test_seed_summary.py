"""Several seeds of a setting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sslkit.errors import DataError, SpecError
from sslkit.statistics import paired_t, pooled_t, seed_summary, verdict, welch_t
from tests.statistics.simulate import TIMES, normal_groups

A, B = [0.81, 0.83, 0.80, 0.84, 0.82], [0.78, 0.80, 0.79, 0.77, 0.81]
VALUES = st.lists(st.floats(0, 1, width=32), min_size=3, max_size=6)


def rejected(differences) -> float:
    return float(np.mean([d.p <= 0.05 for d in differences]))


@pytest.mark.parametrize(("sizes", "spreads"), [((5, 5), (0.01, 0.01)), ((4, 8), (0.01, 0.03))])
def test_welch_keeps_its_level_and_covers(sizes, spreads):
    found = [welch_t(*groups) for groups in normal_groups(sizes, spreads, 1)]
    assert 0.03 <= rejected(found) <= 0.07
    assert 0.93 <= np.mean([d.low <= 0 <= d.high for d in found]) <= 0.97


@pytest.mark.parametrize("count", [3, 5, 10])
def test_the_paired_t_keeps_its_level_and_covers(count):
    generator = np.random.default_rng(count)
    shared = generator.normal(0, 0.05, (TIMES, count))  # what a seed does to both settings
    found = [
        paired_t(first + common, second + common)
        for (first, second), common in zip(
            normal_groups((count, count), (0.01, 0.02), 2), shared, strict=True
        )
    ]
    assert 0.03 <= rejected(found) <= 0.07
    assert 0.93 <= np.mean([d.low <= 0 <= d.high for d in found]) <= 0.97


@pytest.mark.parametrize("sizes", [(1, 5), (3, 1)])
def test_one_seed_against_several_keeps_its_level(sizes):
    found = [pooled_t(*groups) for groups in normal_groups(sizes, (0.01, 0.01), 4)]
    assert 0.03 <= rejected(found) <= 0.07


@pytest.mark.parametrize("count", [3, 5, 20])
def test_intervals_over_seeds_cover_as_they_say(count):
    found = [seed_summary(first) for first, _ in normal_groups((count, count), (0.01, 0.01), 5)]
    assert 0.93 <= np.mean([s.low <= 0.8 <= s.high for s in found]) <= 0.97


def test_pairing_finds_what_the_spread_of_seeds_hides():
    generator = np.random.default_rng(0)
    common = generator.normal(0.8, 0.05, 6)
    first, second = (common + generator.normal(gain, 0.002, 6) for gain in (0.01, 0))
    assert paired_t(first, second).p < 0.001 < 0.2 < welch_t(first, second).p


def test_a_summary_by_hand():
    summary = seed_summary(A)
    assert (summary.seeds, summary.mean) == (5, pytest.approx(0.82))
    assert summary.std == pytest.approx(0.0158114, abs=1e-7)
    reach = 2.776445 * 0.0158114 / 5**0.5
    assert (summary.low, summary.high) == pytest.approx((0.82 - reach, 0.82 + reach), abs=1e-6)
    assert seed_summary([0.5])._asdict() == {
        "seeds": 1, "mean": 0.5, "std": None, "low": None, "high": None, "level": 0.95,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (welch_t, lambda a, b: stats.ttest_ind(a, b, equal_var=False)),
        (paired_t, stats.ttest_rel),
        (pooled_t, stats.ttest_ind),
    ],
)
def test_scipy_says_the_same(ours, theirs):
    found, expected = ours(A, B, 0.9), theirs(A, B)
    assert found.p == expected.pvalue
    assert (found.low, found.high) == tuple(expected.confidence_interval(0.9))
    assert found.estimate == pytest.approx(0.03)
    assert found.level == 0.9


def test_the_methods_say_their_names():
    assert [t(A, B).method for t in (welch_t, paired_t, pooled_t)] == ["Welch's t", "paired t", "pooled t"]


def test_one_against_several_is_crawford_and_howell():
    """Crawford and Howell 1998: (x - mean) / (s √(1 + 1/n)) with n - 1 degrees of freedom."""
    found = pooled_t([0.9], A)
    t = 0.08 / (np.std(A, ddof=1) * (1 + 1 / 5) ** 0.5)
    assert found.p == pytest.approx(2 * stats.t.sf(t, 4))
    assert found.estimate == pytest.approx(0.08)


@given(VALUES, VALUES)
def test_swapping_swaps_the_signs(first, second):
    for test in (welch_t, pooled_t, paired_t):
        second = second[: len(first)] if test is paired_t else second
        first = first[: len(second)] if test is paired_t else first
        one, two = test(first, second), test(second, first)
        assert one.p == pytest.approx(two.p)
        assert (one.estimate, one.low, one.high) == pytest.approx((-two.estimate, -two.high, -two.low))
        assert one.low <= one.high


@given(VALUES)
def test_identical_seeds_do_not_differ(values):
    for test in (welch_t, pooled_t, paired_t):
        difference = test(values, values)
        assert difference.p == 1
        assert verdict("a", "b", difference) == "no significant difference"


@pytest.mark.parametrize("test", [welch_t, paired_t, pooled_t])
def test_without_any_spread_nothing_is_claimed(test):
    difference = test([0.9, 0.9], [0.8, 0.8])
    assert (difference.p, difference.estimate) == (1, pytest.approx(0.1))
    assert verdict("a", "b", difference) == "no significant difference"


@pytest.mark.parametrize(
    ("test", "first", "second", "message"),
    [
        (welch_t, [0.5], A, "`first` must be one row of at least 2 values"),
        (paired_t, A, A[:4], "paired values must be equally many, got 5 and 4"),
        (pooled_t, [0.5], [0.6], "one seed each says nothing about seeds"),
        (pooled_t, [], A, "`first` must be one row of at least 1 value"),
        (welch_t, [0.5, np.inf], A, "`first` must be finite, but value 1 is not"),
    ],
)
def test_what_cannot_be_compared_is_refused(test, first, second, message):
    with pytest.raises(DataError) as caught:
        test(first, second)
    assert message in str(caught.value)


@pytest.mark.parametrize("test", [welch_t, paired_t, pooled_t])
def test_levels_are_checked(test):
    with pytest.raises(SpecError, match="level"):
        test(A, B, 0)
    with pytest.raises(SpecError, match="level"):
        seed_summary(A, 1)
