"""Holm's correction for multiple comparisons, and the verdict on one of them."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from sslkit.errors import DataError
from sslkit.statistics.input_checks import Floats
from sslkit.statistics.paired_tests import Difference

NONE = "no significant difference"


def holm(p_values: ArrayLike) -> Floats:
    """p-values `[m]` adjusted by Holm's step-down method (Holm 1979), in their order.

    The i-th smallest is multiplied by m - i + 1, is at least the one before it, and at most 1. Rejecting where
    the result is at most α keeps the chance of any false rejection among all m at α, however they depend.

    Raises:
        DataError: they are not one row of probabilities.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise DataError("`p_values` must be one row of numbers between 0 and 1")
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1)
    return adjusted


def significant(difference: Difference, p: float | None = None) -> bool:
    """Whether `p` (default: the difference's own) is at most 1 - level, and the interval excludes 0.

    The two say the same except where a test and an interval of different making meet at the border.
    """
    level = difference.p if p is None else p
    return level <= 1 - difference.level + 1e-12 and difference.excludes_zero


def verdict(
    first: str,
    second: str,
    difference: Difference,
    p: float | None = None,
    points: bool = True,
    better: Literal["higher", "lower"] | None = "higher",
) -> str:
    """The verdict on `first` and `second` in one line.

    Args:
        first: name of the one that `difference` counts from.
        second: name of the other.
        difference: first less second.
        p: the p-value that counts, adjusted for many comparisons. Default: the difference's own.
        points: the values are accuracies, shown in percentage points.
        better: the direction in which the values are better; None: it is only said which is higher.
    """
    if not significant(difference, p):
        return NONE
    ahead, behind = (first, second) if (difference.estimate > 0) == (better != "lower") else (second, first)
    bounds = sorted((abs(difference.low), abs(difference.high)))
    size, low, high = (_size(value, points) for value in (abs(difference.estimate), *bounds))
    word, unit = "higher" if better is None else "better", " points" if points else ""
    note = " (lower is better)" if better == "lower" else ""
    probability = p_text(difference.p if p is None else p)
    return f"{ahead} {word} than {behind} by {size}{unit} [{low}, {high}]{note}, {probability}"


def p_text(p: float) -> str:
    """`p = 0.012`, or `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def _size(value: float, points: bool) -> str:
    return f"{100 * value:.2f}" if points else f"{value:.4g}"
