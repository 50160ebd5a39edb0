"""Paired tests of two runs on the same images: McNemar's test and a paired bootstrap."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike

from sslkit.statistics.bootstrap_means import RESAMPLES, resampled_means
from sslkit.statistics.input_checks import Floats, require_level, require_pairs, vector, zero_one


class Difference(NamedTuple):
    """The first's mean less the second's, and whether chance alone would give it."""

    estimate: float
    low: float
    high: float
    level: float
    """Confidence level of `low` and `high`."""
    p: float
    """Probability of a difference at least as large, either way, where there is none."""
    method: str

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of 0."""
        return self.low > 0 or self.high < 0


class McNemar(NamedTuple):
    """McNemar's test of two runs on the same images."""

    only_first: int
    """Images that only the first run has right."""
    only_second: int
    p: float


def mcnemar(first: ArrayLike, second: ArrayLike) -> McNemar:
    """McNemar's test in its mid-p form, of `[N]` and `[N]` rights and wrongs (0 or 1).

    Images that just one of the runs has right fall to either by a fair coin where the runs are equally good.
    Of the variants the exact test rejects too rarely and the chi-squared one too often on few such images;
    mid-p keeps the level (Fagerland, Lydersen and Laake 2013).

    Raises:
        DataError: the rows are empty, unequally long, or hold other values than 0 and 1.
    """
    a, b = zero_one(first, "first"), zero_one(second, "second")
    require_pairs(a, b)
    only_first, only_second = int((a > b).sum()), int((a < b).sum())
    fewer, coin = min(only_first, only_second), (only_first + only_second, 0.5)
    p = 2 * scipy.stats.binom.cdf(fewer, *coin) - scipy.stats.binom.pmf(fewer, *coin)
    return McNemar(only_first, only_second, min(1.0, float(p)))


def paired_bootstrap(
    first: ArrayLike, second: ArrayLike, level: float = 0.95, seed: int = 0, resamples: int = RESAMPLES
) -> Difference:
    """Bootstrap of the mean difference of `[N]` and `[N]` values of the same images.

    The interval is the percentile one over resampled images. The p-value comes from resamples in which each
    difference has a random sign, as if the runs could be exchanged; values as far out as the observed one count half.

    Raises:
        DataError: the rows are empty, unequally long or not finite.
        SpecError: `level` is no confidence level.
    """
    require_level(level)
    a, b = vector(first, "first"), vector(second, "second")
    require_pairs(a, b)
    differences = a - b
    means = resampled_means(differences, len(a), resamples, seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    p = _exchange_p(differences, resamples, seed)
    return Difference(float(differences.mean()), float(low), float(high), level, p, "paired bootstrap")


def _exchange_p(differences: Floats, resamples: int, seed: int) -> float:
    """Two-sided p-value of the mean of `differences`, never 0: the observed one is among the resamples."""
    observed = abs(float(differences.mean()))
    rounding = 1e-9 * np.abs(differences).max()
    if observed <= rounding:
        return 1.0
    both = np.concatenate([differences, -differences])
    means = np.abs(resampled_means(both, len(differences), resamples, seed))
    beyond, at = means > observed + rounding, np.abs(means - observed) <= rounding
    return float(min(1.0, (beyond.sum() + at.sum() / 2 + 1) / (resamples + 1)))
