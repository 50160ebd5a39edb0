"""Input checks of the statistics."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sslkit.errors import DataError, SpecError

Floats = NDArray[np.float64]


def vector(values: ArrayLike, name: str, least: int = 1) -> Floats:
    """`values` as `[N]` float64.

    Raises:
        DataError: they have another shape, are fewer than `least`, or are not all finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) < least:
        raise DataError(
            f"`{name}` must be one row of at least {least} value{'s' * (least > 1)}, got shape {array.shape}"
        )
    if not np.isfinite(array).all():
        raise DataError(f"`{name}` must be finite, but value {int(np.argmin(np.isfinite(array)))} is not")
    return array


def zero_one(correct: ArrayLike, name: str) -> Floats:
    """`correct` as `[N]` float64 of 0 and 1.

    Raises:
        DataError: it is not one row, is empty, or has other values.
    """
    array = vector(correct, name)
    if not np.isin(array, (0, 1)).all():
        raise DataError(f"`{name}` must say of each image whether it was right: 0 or 1, or false or true")
    return array


def require_pairs(first: Floats, second: Floats) -> None:
    """Pass where both have one value for each of the same images or seeds. Raises DataError otherwise."""
    if first.shape != second.shape:
        raise DataError(f"paired values must be equally many, got {len(first)} and {len(second)}")


def require_level(level: float) -> None:
    """Pass where `level` is a confidence level. Raises SpecError otherwise."""
    if not 0 < level < 1:
        raise SpecError(f"level: must lie between 0 and 1, as 0.95 does, got {level}")
