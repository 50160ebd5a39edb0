"""Friedman test, Nemenyi difference and win-tie-loss over data sets (Demšar 2006)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from sslkit.errors import DataError
from sslkit.statistics.input_checks import Floats, require_level


class Ranking(NamedTuple):
    """Average ranks of `K` settings over `D` data sets."""

    ranks: tuple[float, ...]
    """`K` average ranks: 1 is the best, ties share theirs."""
    statistic: float
    """Friedman's chi-squared, of `K` - 1 degrees of freedom."""
    p: float
    """Of no difference between any of the settings."""
    critical_difference: float
    """Nemenyi's: two average ranks that are this far apart differ."""
    level: float


def friedman(scores: ArrayLike, level: float = 0.95) -> Ranking:
    """Friedman's test of `[D, K]` scores (higher is better), with Nemenyi's critical difference.

    Raises:
        DataError: there are fewer than two data sets or three settings, or a score is not finite.
        SpecError: `level` is no confidence level.
    """
    table = _table(scores)
    if len(table) < 2 or table.shape[1] < 3:
        raise DataError(
            f"Friedman's test needs two data sets and three settings at least, got {table.shape[0]} and "
            f"{table.shape[1]}; two settings are compared by win, tie and loss"
        )
    ranks = scipy.stats.rankdata(-table, axis=1).mean(0)
    statistic, p = 0.0, 1.0
    if (np.ptp(table, axis=1) > 0).any():  # ties everywhere leave nothing to test
        result = scipy.stats.friedmanchisquare(*table.T)
        statistic, p = float(result.statistic), float(result.pvalue)
    critical = nemenyi_difference(table.shape[1], len(table), level)
    return Ranking(tuple(map(float, ranks)), statistic, p, critical, level)


def nemenyi_difference(settings: int, datasets: int, level: float = 0.95) -> float:
    """Critical difference of average ranks, q √(K (K + 1) / 6 D) with q of the studentized range over √2.

    Raises:
        DataError: there are fewer than two settings, or no data sets.
        SpecError: `level` is no confidence level.
    """
    require_level(level)
    if settings < 2 or datasets < 1:
        raise DataError(f"ranks need two settings and a data set at least, got {settings} and {datasets}")
    q = float(scipy.stats.studentized_range.ppf(level, settings, np.inf)) / 2**0.5
    return float(q * (settings * (settings + 1) / (6 * datasets)) ** 0.5)


def win_tie_loss(scores: ArrayLike, ties: ArrayLike | None = None) -> NDArray[np.int64]:
    """`[K, K, 3]` numbers of data sets on which the first setting wins, ties and loses against the second.

    Args:
        scores: `[D, K]`, higher is better.
        ties: `[D, K, K]` where a difference counts as none, because a test did not find it significant.
            Default: only equal scores tie.

    Raises:
        DataError: `scores` are no table or not finite, or `ties` has another shape.
    """
    table = _table(scores)
    signs = np.sign(table[:, :, None] - table[:, None, :])
    if ties is not None:
        tied = np.asarray(ties, dtype=bool)
        if tied.shape != signs.shape:
            raise DataError(f"`ties` must have the shape {signs.shape}, got {tied.shape}")
        signs = np.where(tied, 0, signs)
    return np.stack([(signs == sign).sum(0) for sign in (1, 0, -1)], axis=-1)


def _table(scores: ArrayLike) -> Floats:
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or not table.size or not np.isfinite(table).all():
        raise DataError(
            f"`scores` must be a table of finite values, data sets by settings, got shape {table.shape}"
        )
    return table
