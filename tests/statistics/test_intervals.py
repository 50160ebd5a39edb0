"""Intervals hold the truth as often as they say."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sslkit.errors import DataError, SpecError
from sslkit.statistics import Interval, accuracy_interval, mean_interval
from tests.statistics.simulate import TIMES


def correct(hits: int, count: int) -> np.ndarray:
    return np.arange(count) < hits


@functools.cache
def interval_of(hits: int, count: int) -> Interval:
    """Of so many right ones: simulations come to the same few numbers again and again."""
    return accuracy_interval(correct(hits, count))


def covered(intervals, truth: float) -> float:
    """The share of `intervals` that hold `truth`."""
    return float(np.mean([low <= truth <= high for _, low, high, *_ in intervals]))


def exact_coverage(method: str, count: int, truth: float) -> float:
    """The coverage of a 95 % interval without simulation: over every number of hits, by its probability."""
    weights = stats.binom.pmf(np.arange(count + 1), count, truth)
    likely = np.flatnonzero(weights > 1e-7)
    intervals = [accuracy_interval(correct(int(hits), count), method=method) for hits in likely]
    return float(sum(w for w, i in zip(weights[likely], intervals, strict=True) if i.low <= truth <= i.high))


@pytest.mark.parametrize("truth", [0.5, 0.7, 0.9, 0.95, 0.98])
@pytest.mark.parametrize("count", [500, 1000, 2000])
def test_intervals_of_accuracies_cover_as_they_say(count, truth):
    generator = np.random.default_rng([count, int(100 * truth)])
    drawn = [generator.random(count) < truth for _ in range(2 * TIMES)]
    assert accuracy_interval(drawn[0]) == interval_of(int(drawn[0].sum()), count), "only their number counts"
    assert 0.93 <= covered([interval_of(int(right.sum()), count) for right in drawn], truth) <= 0.97


@pytest.mark.parametrize("truth", [0.5, 0.7, 0.9, 0.92, 0.95, 0.96, 0.97, 0.98])
@pytest.mark.parametrize("count", [200, 500, 1000])
def test_the_coverage_is_right_without_simulation_too(count, truth):
    assert 0.93 <= exact_coverage("wilson", count, truth) <= 0.97


@pytest.mark.parametrize(("count", "truth"), [(500, 0.8), (500, 0.95), (1000, 0.98), (2000, 0.9)])
def test_the_bootstrap_covers_where_there_are_many_images(count, truth):
    assert 0.93 <= exact_coverage("bootstrap", count, truth) <= 0.97


def test_the_bootstrap_fails_where_there_are_few_errors_and_wilson_does_not():
    assert exact_coverage("bootstrap", 50, 0.98) < 0.7
    assert exact_coverage("wilson", 50, 0.98) > 0.9


def test_wilson_by_hand():
    """Wilson 1927 with z = 1.959964, 81 of 263: Newcombe 1998, table I, method 3."""
    interval = accuracy_interval(correct(81, 263))
    assert interval.estimate == pytest.approx(81 / 263)
    assert (interval.low, interval.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert (interval.level, interval.method) == (0.95, "wilson")


@given(st.integers(1, 10_000), st.floats(0, 1), st.floats(0.5, 0.999))
def test_wilson_is_scipys(count, share, level):
    hits = round(share * count)
    interval, expected = accuracy_interval(correct(hits, count), level), stats.binomtest(hits, count)
    bounds = expected.proportion_ci(level, "wilson")
    assert (interval.low, interval.high) == pytest.approx((bounds.low, bounds.high), abs=1e-12)


def test_the_bootstrap_is_what_resampling_comes_to():
    right = correct(870, 1000)
    interval = accuracy_interval(right, method="bootstrap")
    resampled = stats.bootstrap(
        (right.astype(float),), np.mean, method="percentile", n_resamples=20_000, batch=500,
        rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    assert (interval.low, interval.high) == pytest.approx(tuple(resampled), abs=0.0011)
    assert interval.method == "bootstrap"


def test_all_right_does_not_mean_certainty():
    interval = accuracy_interval(np.ones(100, bool))
    assert interval.estimate == interval.high == 1
    assert interval.low == pytest.approx(0.963, abs=1e-3)
    assert accuracy_interval(np.zeros(100)).high == pytest.approx(0.037, abs=1e-3)


@given(hits=st.integers(0, 60), level=st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_intervals_hold_their_estimate_and_mirror(hits, level):
    interval, mirrored = (accuracy_interval(correct(h, 60), level) for h in (hits, 60 - hits))
    assert 0 <= interval.low <= interval.estimate <= interval.high <= 1
    assert mirrored.low == pytest.approx(1 - interval.high, abs=1e-12)


def test_more_certain_intervals_are_wider_and_more_images_narrower():
    wide, narrow = (accuracy_interval(correct(80, 100), level) for level in (0.99, 0.9))
    assert wide.low < narrow.low < narrow.high < wide.high
    many = accuracy_interval(correct(8000, 10_000), 0.9)
    assert many.high - many.low < (narrow.high - narrow.low) / 9


@pytest.mark.parametrize(
    ("draw", "truth"),
    [
        (lambda g: g.normal(0.3, 2, 200), 0.3),
        (lambda g: g.exponential(size=300), 1.0),
        (lambda g: g.beta(8, 1, 150), 8 / 9),
        (lambda g: g.integers(0, 4, 200) / 3, 0.5),
    ],
    ids=["normal", "exponential", "beta", "thirds"],
)
def test_intervals_of_means_cover_as_they_say(draw, truth):
    generator = np.random.default_rng(5)
    drawn = [mean_interval(draw(generator), seed=i, resamples=1000) for i in range(TIMES)]
    assert 0.93 <= covered(drawn, truth) <= 0.97


@pytest.mark.parametrize("values", [np.random.default_rng(0).exponential(size=120), [0.0, 1, 1, 1, 3] * 12])
def test_means_agree_with_scipy(values):
    """SciPy's BCa: jackknife and resampling."""
    ours = mean_interval(values, seed=1, resamples=50_000)
    theirs = stats.bootstrap(
        (np.asarray(values),), np.mean, n_resamples=50_000, batch=5000, rng=np.random.default_rng(2)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.estimate == pytest.approx(np.mean(values))
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs), abs=0.03 * width)


def test_a_mean_of_equal_values_has_no_width():
    assert mean_interval([0.25] * 9)[:3] == (0.25, 0.25, 0.25)


def test_the_seed_decides():
    values = np.random.default_rng(0).normal(size=80)
    assert mean_interval(values, seed=3, resamples=300) == mean_interval(values, seed=3, resamples=300)
    assert mean_interval(values, seed=3, resamples=300) != mean_interval(values, seed=4, resamples=300)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "`correct` must be one row of at least 1 value, got shape (0,)"),
        ([[1, 0]], "got shape (1, 2)"),
        ([0, 1, 2], "whether it was right"),
        ([0, 1, np.nan], "`correct` must be finite, but value 2 is not"),
    ],
)
def test_what_is_no_row_of_rights_and_wrongs_is_refused(values, message):
    with pytest.raises(DataError) as caught:
        accuracy_interval(values)
    assert message in str(caught.value)


def test_one_value_has_no_interval_of_its_mean():
    with pytest.raises(DataError, match="at least 2 values"):
        mean_interval([0.5])


@pytest.mark.parametrize("level", [0, 1, 95])
def test_levels_lie_between_0_and_1(level):
    with pytest.raises(SpecError, match=r"level: must lie between 0 and 1, as 0.95 does"):
        accuracy_interval([0, 1], level)
    with pytest.raises(SpecError, match="level"):
        mean_interval([0.0, 1], level)
