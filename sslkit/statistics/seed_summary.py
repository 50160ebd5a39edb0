"""Summaries over the seeds of a setting, and t-tests between settings."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike

from sslkit.errors import DataError
from sslkit.statistics.input_checks import Floats, require_level, require_pairs, vector
from sslkit.statistics.paired_tests import Difference


class SeedSummary(NamedTuple):
    """Mean and spread over the seeds of one setting."""

    seeds: int
    mean: float
    std: float | None
    """Standard deviation over seeds (n - 1); None for a single one, as are `low` and `high`."""
    low: float | None
    high: float | None
    level: float


def seed_summary(values: ArrayLike, level: float = 0.95) -> SeedSummary:
    """Mean, standard deviation and Student's t-interval of the mean of `[n]` seeds.

    Raises:
        DataError: there are no values, or one is not finite.
        SpecError: `level` is no confidence level.
    """
    require_level(level)
    array = vector(values, "values")
    count, mean = len(array), float(array.mean())
    if count == 1:
        return SeedSummary(1, mean, None, None, None, level)
    std = float(array.std(ddof=1))
    reach = float(scipy.stats.t.ppf((1 + level) / 2, count - 1)) * std / count**0.5
    return SeedSummary(count, mean, std, mean - reach, mean + reach, level)


def welch_t(first: ArrayLike, second: ArrayLike, level: float = 0.95) -> Difference:
    """Welch's t-test of two groups of at least two seeds each, with variances of their own (Welch 1947).

    Raises:
        DataError: a group has fewer than two values, or one that is not finite.
        SpecError: `level` is no confidence level.
    """
    a, b = vector(first, "first", 2), vector(second, "second", 2)
    return _tested(a, b, level, "Welch's t", paired=False, equal_var=False)


def paired_t(first: ArrayLike, second: ArrayLike, level: float = 0.95) -> Difference:
    """Student's t-test of the differences of the same seeds, in the same order, at least two.

    Raises:
        DataError: the groups are unequally large, too small or not finite.
        SpecError: `level` is no confidence level.
    """
    a, b = vector(first, "first", 2), vector(second, "second", 2)
    require_pairs(a, b)
    return _tested(a, b, level, "paired t", paired=True)


def pooled_t(first: ArrayLike, second: ArrayLike, level: float = 0.95) -> Difference:
    """Student's t-test of two groups with one variance: one seed against several (Crawford and Howell 1998).

    Raises:
        DataError: both groups have one value only, or a value is not finite.
        SpecError: `level` is no confidence level.
    """
    a, b = vector(first, "first"), vector(second, "second")
    if len(a) + len(b) < 3:
        raise DataError("one seed each says nothing about seeds: compare the runs on their images instead")
    return _tested(a, b, level, "pooled t", paired=False)


def _tested(
    a: Floats,
    b: Floats,
    level: float,
    method: str,
    paired: bool,
    equal_var: bool = True,
) -> Difference:
    """The t-test. Without spread there is nothing to measure a difference by: p is then 1."""
    require_level(level)
    estimate = float(a.mean() - b.mean())
    if _constant(a - b) if paired else _constant(a) and _constant(b):
        return Difference(estimate, estimate, estimate, level, 1.0, method)
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # of one group without spread
        test = scipy.stats.ttest_rel(a, b) if paired else scipy.stats.ttest_ind(a, b, equal_var=equal_var)
    bounds = test.confidence_interval(level)
    return Difference(estimate, float(bounds.low), float(bounds.high), level, float(test.pvalue), method)


def _constant(values: Floats) -> bool:
    """Whether all are equal, up to rounding."""
    return bool(np.ptp(values) <= 1e-12 * max(1.0, float(np.abs(values).max())))
