"""Fitted scaling laws: estimates with intervals, AIC against simpler laws, and extrapolation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, final

import numpy as np

from sslkit.analysis.scaling.gauss_newton import Array, predict
from sslkit.errors import SpecError

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


class Sample(NamedTuple):
    """The estimate and its resamples, in the units of the solver."""

    theta: Array
    """[1 + R, 1 + 2 T]: the estimate first."""
    center: Array
    """[T]: mean log of every variable."""
    scale: float
    """Geometric mean of y."""

    def offset(self) -> Array:
        """E in units of y, [1 + R]. Resamples may fall below 0, where no loss is, so they are cut there."""
        return np.asarray(np.maximum(self.theta[:, 0], 0.0) * self.scale)

    def exponent(self, variable: int) -> Array:
        """The exponent of a variable, [1 + R]."""
        return self.theta[:, 2 + 2 * variable]

    def coefficient(self, variable: int) -> Array:
        """The factor of a variable's power, in units of y times the variable to its exponent, [1 + R]."""
        log = self.theta[:, 1 + 2 * variable] + self.exponent(variable) * self.center[variable]
        return np.asarray(np.exp(log) * self.scale)

    def curve(self, places: Array) -> Array:
        """The law at `places` [T, m], [1 + R, m]."""
        return np.asarray(np.exp(predict(self.theta, np.log(places) - self.center[:, None])) * self.scale)


@final
@dataclass(frozen=True, slots=True, eq=False)
class PowerLaw:
    """y = E + A x^-alpha, by `fit_power_law`."""

    exponent: Estimate
    """alpha, without a unit."""
    coefficient: Estimate
    """A, in units of y times x^alpha."""
    offset: Estimate
    """E, in units of y: what stays however large x is."""
    r2: float
    """Share of the variance of log y that the law explains."""
    noise: float
    """Standard deviation of log y around the law: 0.01 is one per cent."""
    support: Support
    """The law against simpler ones."""
    x: Array = field(repr=False)
    """The data, [n], in the unit they came in."""
    y: Array = field(repr=False)
    """The data, [n]."""
    sample: Sample = field(repr=False)
    """The estimate and its resamples."""

    def predict(self, x: float) -> Prediction:
        """The law at `x`, in the unit of the data, with the percentile interval of the resamples.

        Raises:
            SpecError: `x` is not above 0.
        """
        place = np.array([[_positive(x, "x")]])
        return Prediction((x,), estimate(self.sample.curve(place)[:, 0]), beyond(x, self.x))

    def band(self, x: Array) -> tuple[Array, Array, Array]:
        """The curve at `x` [m] and the ends of its 95 % interval, each [m]."""
        return band(self.sample.curve(x[None]))


@final
@dataclass(frozen=True, slots=True, eq=False)
class JointLaw:
    """y = E + A / N^alpha + B / D^beta, by `fit_joint`; compute is C = k N D."""

    alpha: Estimate
    """Exponent of the parameters N, without a unit."""
    beta: Estimate
    """Exponent of the images D, without a unit."""
    parameters_coefficient: Estimate
    """A, in units of y times N^alpha."""
    images_coefficient: Estimate
    """B, in units of y times D^beta."""
    offset: Estimate
    """E, in units of y."""
    split: Estimate
    """a = beta / (alpha + beta): with compute C, the best N grows as C^a and the best D as C^(1 - a)."""
    r2: float
    """Share of the variance of log y that the law explains."""
    noise: float
    """Standard deviation of log y around the law."""
    support: Support
    """The law against simpler ones."""
    cost: float
    """k: FLOPs for each parameter and image."""
    parameters: Array = field(repr=False)
    """N of the data, [n]."""
    images: Array = field(repr=False)
    """D of the data, [n]: images seen."""
    y: Array = field(repr=False)
    """The data, [n]."""
    sample: Sample = field(repr=False)
    """The estimate and its resamples."""

    def predict(self, parameters: float, images: float) -> Prediction:
        """The law at a size and a number of images seen.

        Raises:
            SpecError: one of them is not above 0.
        """
        place = np.array([[_positive(parameters, "parameters")], [_positive(images, "images")]])
        past = max(beyond(parameters, self.parameters), beyond(images, self.images))
        return Prediction((parameters, images), estimate(self.sample.curve(place)[:, 0]), past)

    def optimum(self, compute: float) -> Optimum:
        """The parameters and images that make y least for `compute` FLOPs (Hoffmann et al. 2022, equation 4).

        Raises:
            SpecError: `compute` is not above 0.
        """
        sizes, images = self.frontier(np.array([_positive(compute, "compute")]))
        # E + A / N^alpha + B / D^beta of every resample at its own optimum
        powers = self.sample.coefficient(0) * sizes[:, 0] ** -self.sample.exponent(0)
        powers += self.sample.coefficient(1) * images[:, 0] ** -self.sample.exponent(1)
        values = estimate(self.sample.offset() + powers)
        past = beyond(compute, self.cost * self.parameters * self.images)
        return Optimum(compute, estimate(sizes[:, 0]), estimate(images[:, 0]), values, past)

    def frontier(self, compute: Array) -> tuple[Array, Array]:
        """The best parameters and images for `compute` [m] FLOPs, each [1 + R, m]: the estimate first."""
        alpha, beta = self.sample.exponent(0), self.sample.exponent(1)
        total = np.maximum(alpha + beta, 1e-12)
        ratio = alpha * self.sample.coefficient(0) / np.maximum(beta * self.sample.coefficient(1), 1e-300)
        scale = np.maximum(ratio, 1e-300) ** (1 / total)
        sizes = scale[:, None] * (compute / self.cost) ** (beta / total)[:, None]
        return sizes, compute / self.cost / sizes


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


def _positive(value: float, name: str) -> float:
    if not (np.isfinite(value) and value > 0):
        raise SpecError(f"{name}: must be a finite number above 0, found {value:g}")
    return float(value)
