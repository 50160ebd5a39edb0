"""Confidence intervals over the images of one run."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike

from sslkit.statistics.bootstrap_means import RESAMPLES, resampled_means
from sslkit.statistics.input_checks import Floats, require_level, vector, zero_one


class Interval(NamedTuple):
    """An estimate with its confidence interval."""

    estimate: float
    low: float
    high: float
    level: float
    """Share of such intervals that hold the truth."""
    method: str


def accuracy_interval(
    correct: ArrayLike, level: float = 0.95, method: Literal["wilson", "bootstrap"] = "wilson"
) -> Interval:
    """The interval of an accuracy over images like the `[N]` tested ones.

    Args:
        correct: whether each image was classified rightly, 0 or 1.
        level: confidence level.
        method: `wilson` (Wilson 1927; recommended by Brown, Cai and DasGupta 2001), which covers as it says
            also near 0 and 1 and on few images; or `bootstrap`, the percentile interval without resampling
            noise: the sum of a resample of 0/1 values is binomial, so its quantiles are known exactly.

    Raises:
        DataError: `correct` is empty, or holds other values than 0 and 1.
        SpecError: `level` is no confidence level, or `method` is unknown.
    """
    require_level(level)
    right = zero_one(correct, "correct")
    hits, count = int(right.sum()), len(right)
    if method == "bootstrap":
        low, high = scipy.stats.binom.ppf([(1 - level) / 2, (1 + level) / 2], count, hits / count) / count
        return Interval(hits / count, float(low), float(high), level, method)
    low, high = _wilson(hits, count, level)
    return Interval(hits / count, low, high, level, method)


def _wilson(hits: int, count: int, level: float) -> tuple[float, float]:
    """As `scipy.stats.binomtest` has it, whose import takes half a second of every evaluation's start."""
    z = float(scipy.special.ndtri((1 + level) / 2))
    center = (hits + z * z / 2) / (count + z * z)
    reach = z / (count + z * z) * (hits * (count - hits) / count + z * z / 4) ** 0.5
    return (center - reach if hits else 0.0), (center + reach if hits < count else 1.0)


def mean_interval(
    values: ArrayLike, level: float = 0.95, seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """The bootstrap interval of a mean of `[N]` values of images, such as average precisions.

    Bias-corrected and accelerated (BCa; Efron 1987). The acceleration of a mean is a sixth of its skewness:
    SciPy's jackknife gives the same in N² steps.

    Args:
        values: one for each image.
        level: confidence level.
        seed: of the resamples.
        resamples: how many. Each draws N values: 10,000 of 10,000 images take about three seconds, a tenth of them
            moves the bounds by about a tenth of a standard error.

    Raises:
        DataError: `values` are fewer than two, or not finite.
        SpecError: `level` is no confidence level.
    """
    require_level(level)
    array = vector(values, "values", 2)
    mean = float(array.mean())
    if np.ptp(array) == 0:
        return Interval(mean, mean, mean, level, "bootstrap")
    means = resampled_means(array, len(array), resamples, seed)
    low, high = np.quantile(means, _accelerated(array, means, level))
    return Interval(mean, float(low), float(high), level, "bootstrap")


def _accelerated(values: Floats, means: Floats, level: float) -> Floats:
    """`[2]` quantiles of `means` that bound the BCa interval."""
    below = (means < values.mean()).mean() + (means == values.mean()).mean() / 2
    bias = scipy.stats.norm.ppf(np.clip(below, 1 / len(means), 1 - 1 / len(means)))
    acceleration = scipy.stats.skew(values) / (6 * np.sqrt(len(values)))
    reach = bias + scipy.stats.norm.ppf([(1 - level) / 2, (1 + level) / 2])
    quantiles: Floats = scipy.stats.norm.cdf(bias + reach / (1 - acceleration * reach))
    return quantiles
