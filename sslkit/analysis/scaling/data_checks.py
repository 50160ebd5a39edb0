"""Checks that data can support a scaling law; the errors say what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sslkit.analysis.scaling.estimates import DECISIVE, LEVEL, Support
from sslkit.analysis.scaling.gauss_newton import STEEPEST, Array
from sslkit.errors import SpecError

PLACES = 4
"""Different x that a law of three parameters needs: one more than parameters."""
RUNS = 6
"""Runs that the joint law of five parameters needs."""
LEVELS = 3
"""Different values of each variable of the joint law: with two, its curvature cannot be told from the offset."""
RANGE = 4.0
"""Least ratio of largest to smallest x. Over a factor of 4, exponents of 0.1 and 0.15 differ by 7 % in y, a few
times the noise of one run; over a factor of 2 they differ by 3 %."""
COLLINEAR = 0.95
"""Largest correlation of log N and log D: variances of the exponents are ten times larger there (Marquardt 1970)."""


def numbers(values: Sequence[float] | Array, name: str) -> Array:
    """`values` as floats, all finite and above 0."""
    array = finite(values, name)
    if (array <= 0).any():
        at = int(np.flatnonzero(array <= 0)[0])
        raise SpecError(
            f"{name}: value {at + 1} of {len(array)} is {array[at]:g}; its logarithm is fitted, so it must be above 0"
        )
    return array


def finite(values: Sequence[float] | Array, name: str) -> Array:
    """`values` as floats, all finite."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise SpecError(f"{name}: must be a list of numbers, found shape {list(array.shape)}")
    if not np.isfinite(array).all():
        at = int(np.flatnonzero(~np.isfinite(array))[0])
        raise SpecError(
            f"{name}: value {at + 1} of {len(array)} is {array[at]:g}; only finite numbers can be fitted"
        )
    return array


def lengths(columns: Mapping[str, Array]) -> None:
    """Refuse columns of different lengths."""
    if len({len(values) for values in columns.values()}) > 1:
        each = ", ".join(f"{len(values)} of {name}" for name, values in columns.items())
        raise SpecError(f"every run has one value of each, found {each}")


def few_places(x: Array, name: str) -> None:
    """Refuse fewer than four different x."""
    count = len(np.unique(x))
    if count < PLACES:
        raise SpecError(
            f"{name}: {count} different value{'s' * (count != 1)}; a power law with an offset has three parameters and "
            f"needs at least {PLACES}. Add runs at other values of {name}"
        )


def few_runs(count: int) -> None:
    """Refuse fewer than six runs for the joint law."""
    if count < RUNS:
        raise SpecError(
            f"{count} runs: the joint law has five parameters and needs at least {RUNS}. Add runs"
        )


def few_levels(values: Array, name: str) -> None:
    """Refuse a variable of the joint law that takes fewer than three values."""
    count = len(np.unique(values))
    if count < LEVELS:
        raise SpecError(
            f"{name}: {count} different value{'s' * (count != 1)}; the joint law needs at least {LEVELS} of each "
            f"variable. Add runs, or fit a law of one variable without --joint"
        )


def narrow(values: Array, name: str) -> None:
    """Refuse a range below a factor of four."""
    factor = float(values.max() / values.min())
    if factor < RANGE:
        raise SpecError(
            f"{name}: spans a factor of {factor:.3g} ({values.min():.4g} to {values.max():.4g}); an exponent needs "
            f"at least a factor of {RANGE:g}. Add runs at smaller or larger {name}"
        )


def together(n: Array, d: Array, names: Sequence[str]) -> None:
    """Refuse two variables that move together."""
    correlation = float(np.corrcoef(np.log(n), np.log(d))[0, 1])
    if abs(correlation) > COLLINEAR:
        raise SpecError(
            f"{names[0]} and {names[1]} move together (correlation of their logs {correlation:.3f}), so their effects "
            f"cannot be told apart. Add runs that change one while the other stays"
        )


def flat(support: Support, x: str, y: str) -> None:
    """Refuse where a constant fits as well."""
    lead = support.constant - min(support.law, support.no_offset)
    if lead < DECISIVE:
        raise SpecError(
            f"{y} does not fall with {x}: a constant fits as well (AIC of the constant minus AIC of the law is "
            f"{lead:.1f}; at least {DECISIVE:g} would be evidence). If higher is better, use --as error; "
            f"otherwise add runs over a wider range, or seeds"
        )


def idle(support: Support, without: float, name: str, y: str) -> None:
    """Refuse the joint law where one of its variables does nothing."""
    lead = without - support.law
    if lead < DECISIVE:
        raise SpecError(
            f"{y} shows no effect of {name}: a law without it fits as well (AIC without it minus AIC with it is "
            f"{lead:.1f}; at least {DECISIVE:g} would be evidence). Fit the other variable alone, "
            f"or add runs over a wider range"
        )


def degenerate(theta: Array, names: Sequence[str]) -> None:
    """Refuse where an end of an exponent's interval would be a bound of the search and not a finding.

    Args:
        theta: the estimate and its resamples, [1 + R, p].
        names: of the variables.
    """
    for i, name in enumerate(names):
        exponent = theta[1:, 2 + 2 * i]
        for share, what in (
            (np.mean(exponent <= 1e-6), "0"),
            (np.mean(exponent >= STEEPEST), f"{STEEPEST:g}"),
        ):
            if share > (1 - LEVEL) / 2:
                raise SpecError(
                    f"degenerate bootstrap: in {share:.0%} of the resamples the exponent of {name} runs to {what}, so "
                    f"the data do not bound it. Add runs or seeds, or a wider range of {name}"
                )
