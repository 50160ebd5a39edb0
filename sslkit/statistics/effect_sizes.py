"""Effect sizes of differences (Cohen 1988, chapters 2, 4 and 6), and odds ratios."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from sslkit.errors import DataError
from sslkit.statistics.input_checks import vector


def cohens_h(first: float, second: float) -> float:
    """Of two proportions: the difference of their angles 2 asin √p. About 0.2 is small, 0.5 medium, 0.8 large.

    Raises:
        DataError: one of them is no proportion.
    """
    if not (0 <= first <= 1 and 0 <= second <= 1):
        raise DataError(f"Cohen's h needs proportions between 0 and 1, got {first} and {second}")
    return float(2 * np.arcsin(np.sqrt(first)) - 2 * np.arcsin(np.sqrt(second)))


def cohens_g(only_first: int, only_second: int) -> float:
    """Of images that only one of two runs has right: the first's share less a half.

    About 0.05 is small, 0.15 medium, 0.25 large. 0 where there are none.
    """
    discordant = only_first + only_second
    return only_first / discordant - 0.5 if discordant else 0.0


def odds_ratio(only_first: int, only_second: int) -> float:
    """Of the same images: how many times more are right by the first alone than by the second alone.

    Half an image is added to both (Haldane 1956; Anscombe 1956), so that it is always finite.
    """
    return (only_first + 0.5) / (only_second + 0.5)


def cohens_d(first: ArrayLike, second: ArrayLike) -> float | None:
    """Of two groups of seeds: the difference of means in pooled standard deviations.

    About 0.2 is small, 0.5 medium, 0.8 large. None where no group has any spread.

    Raises:
        DataError: a group is empty or not finite.
    """
    a, b = vector(first, "first"), vector(second, "second")
    freedom = len(a) + len(b) - 2
    squares = float(((a - a.mean()) ** 2).sum() + ((b - b.mean()) ** 2).sum())
    if not freedom or not np.sqrt(squares) > 1e-12 * np.abs([*a, *b]).max():  # constants, up to rounding
        return None
    return float((a.mean() - b.mean()) / np.sqrt(squares / freedom))
