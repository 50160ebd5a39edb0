"""What a fitted law says: estimates with intervals, AIC against simpler laws, predictions, and how far they reach."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sslkit.analysis.scaling.gauss_newton import Array

FAR = 10.0
"""Extrapolating by a larger factor than this comes with a warning."""
LEVEL = 0.95
"""Coverage that intervals are made for."""
DECISIVE = 2.0
"""Difference in AIC below which two laws fit as well (Burnham and Anderson 2002, section 2.6)."""


class Estimate(NamedTuple):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """The value and, in brackets, the interval."""
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


class Support(NamedTuple):
    """Robust AIC (Ronchetti 1985) of the law and of simpler ones; lower is better, only differences have a meaning."""

    law: float
    """The law that was fitted, its offset included."""
    no_offset: float
    """The same law with E = 0."""
    constant: float
    """The same value everywhere."""

    @property
    def offset(self) -> bool:
        """Whether the data ask for the offset: without it, AIC is higher by 2 or more."""
        return self.no_offset - self.law >= DECISIVE


class Prediction(NamedTuple):
    """What a law says of a place where there may be no data."""

    at: tuple[float, ...]
    """The place: x, or parameters and images."""
    value: Estimate
    """The curve there. The interval is of the curve: single runs scatter around it by `noise` as well."""
    beyond: float
    """How many times further than the data; 1 inside their range."""

    @property
    def warning(self) -> str | None:
        """What to say where the place is more than ten times beyond the data."""
        return far(self.beyond)

    @property
    def place(self) -> float:
        """The first coordinate, by which it was asked for."""
        return self.at[0]

    @property
    def estimates(self) -> dict[str, Estimate]:
        """What is predicted, by name."""
        return {"y": self.value}


class Optimum(NamedTuple):
    """The best use of some compute."""

    compute: float
    """FLOPs."""
    parameters: Estimate
    images: Estimate
    value: Estimate
    """The law there, in units of y."""
    beyond: float
    """How many times more, or less, compute than any of the runs used; 1 inside their range."""

    @property
    def warning(self) -> str | None:
        """What to say where the compute is more than ten times beyond the data."""
        return far(self.beyond)

    @property
    def place(self) -> float:
        """The compute, by which it was asked for."""
        return self.compute

    @property
    def estimates(self) -> dict[str, Estimate]:
        """What is predicted, by name."""
        return {"parameters": self.parameters, "images": self.images, "y": self.value}


def estimate(values: Array) -> Estimate:
    """The first of `values` [1 + R], and the percentiles of the others (Efron 1979)."""
    low, high = np.quantile(values[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(values[0]), float(low), float(high))


def band(curves: Array) -> tuple[Array, Array, Array]:
    """The first of `curves` [1 + R, m], and the percentiles of the others."""
    low, high = np.quantile(curves[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return curves[0], low, high


def beyond(value: float, data: Array | Sequence[float]) -> float:
    """How many times `value` is above the largest, or below the smallest, of `data`; 1 between them."""
    return float(max(value / np.max(data), np.min(data) / value, 1.0))


def far(factor: float) -> str | None:
    """What to say of an extrapolation by `factor`; nothing up to ten."""
    if factor <= FAR:
        return None
    return (
        f"{factor:.3g} times beyond the data: the interval holds only if the same law goes on, "
        f"which data cannot show beyond a factor of about {FAR:g}"
    )
