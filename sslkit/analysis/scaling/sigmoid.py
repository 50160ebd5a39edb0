"""Fit of a sigmoid in log x, compared by AIC with smooth curves: what is called emergence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares
from scipy.special import stdtrit

from sslkit.analysis.scaling import data_checks
from sslkit.analysis.scaling.bootstrap import NORMAL
from sslkit.analysis.scaling.breaks import aic
from sslkit.analysis.scaling.estimates import DECISIVE, Estimate, estimate
from sslkit.analysis.scaling.gauss_newton import Array
from sslkit.errors import SpecError

PLACES = 6
"""Different x that four parameters and their intervals need."""
RESAMPLES = 500
CAUTION = (
    "a sharp rise of a metric that counts hits may come from the metric and not from the network; "
    "look at a smooth one, such as the loss (Schaeffer et al. 2023)"
)
_MIDPOINTS, _STEEPNESSES = 81, 25
_EXPONENTS = np.linspace(-3, 3, 241)


class Sigmoid(NamedTuple):
    """y = low + (high - low) / (1 + (x / midpoint)^-steepness), against smooth curves without a bend in the middle."""

    low: float
    """y far to the left, in units of y."""
    high: float
    """y far to the right."""
    midpoint: Estimate
    """x half way, in the unit of x, with its bootstrap interval."""
    steepness: float
    """Without a unit. From 10 % to 90 % of the way, x grows by 81^(1 / steepness)."""
    inside: bool
    """Whether two different x or more lie on each side of the midpoint: one side alone is no sigmoid."""
    aic: float
    aic_smooth: float
    """The lower AIC of a straight line in log x and of a power a + b x^c."""
    aic_constant: float

    @property
    def width(self) -> float:
        """How many times x grows from 10 % to 90 % of the way."""
        return float(81 ** (1 / self.steepness))

    @property
    def found(self) -> bool:
        """Whether the midpoint lies inside the data, and AIC prefers the sigmoid to the others by 2 or more."""
        return self.inside and self.lead >= DECISIVE

    @property
    def lead(self) -> float:
        """How much lower its AIC is than that of the best other curve."""
        return min(self.aic_smooth, self.aic_constant) - self.aic

    @property
    def verdict(self) -> str:
        """The finding in words."""
        if not self.inside:
            return "no evidence of a sigmoid: its midpoint is not inside the data"
        if not self.found:
            return f"no evidence of a sigmoid: a curve without a bend fits as well (AIC {self.lead:+.1f})"
        return (
            f"a sigmoid from {self.low:.3g} to {self.high:.3g}, half way at x = {self.midpoint}, "
            f"10 % to 90 % within a factor of {self.width:.3g} (AIC {self.lead:+.1f}); {CAUTION}"
        )


class Curves(NamedTuple):
    """Sigmoids of all midpoints and steepnesses of a grid."""

    midpoints: Array
    """Their log, [K]."""
    steepnesses: Array
    """[K]."""
    basis: Array
    """Orthonormal columns that span a constant and the sigmoid, [K, n, 2]."""


def fit_sigmoid(
    x: Sequence[float] | Array,
    y: Sequence[float] | Array,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    names: tuple[str, str] = ("x", "y"),
) -> Sigmoid:
    """Fit a sigmoid in log x by least squares, and compare it with a line, a power and a constant.

    Args:
        x: size, images seen or compute, [n], above 0.
        y: the metric, [n], in any unit; it may rise or fall.
        resamples: bootstrap resamples of the midpoint.
        seed: of the bootstrap.
        names: what messages call x and y.

    Raises:
        SpecError: fewer than six different x, or values that are not finite.
    """
    values, targets = data_checks.numbers(x, names[0]), data_checks.finite(y, names[1])
    data_checks.lengths({names[0]: values, names[1]: targets})
    if len(np.unique(values)) < PLACES:
        raise SpecError(
            f"{names[0]}: {len(np.unique(values))} different values; a sigmoid has four parameters and needs at least "
            f"{PLACES}. Add runs at other values of {names[0]}"
        )
    logs = np.log(values)
    curves = _curves(logs)
    low, high, midpoint, steepness = _refined(logs, targets, curves)
    fitted = low + (high - low) * _rise(logs, midpoint, steepness)
    drawn = _midpoints(curves, fitted, targets - fitted, resamples, seed)
    points, places = len(targets), np.unique(logs)
    return Sigmoid(
        low=low,
        high=high,
        midpoint=estimate(np.exp(np.concatenate([[midpoint], drawn]))),
        steepness=steepness,
        inside=2 <= int(np.sum(places < midpoint)) <= len(places) - 2,
        aic=aic(float(((targets - fitted) ** 2).sum()), points, 5),
        aic_smooth=_smooth(logs - logs.mean(), targets),
        aic_constant=aic(float(((targets - targets.mean()) ** 2).sum()), points, 2),
    )


def _smooth(logs: Array, targets: Array) -> float:
    """AIC of the better of a line in the logs (an exponent of 0) and a power."""
    exponents = _EXPONENTS[:, None]
    powers = np.where(
        exponents == 0, logs, np.expm1(exponents * logs) / np.where(exponents == 0, 1, exponents)
    )
    basis = np.linalg.qr(np.stack([np.ones_like(powers), powers], axis=2))[0]
    left = (targets**2).sum() - ((targets @ basis) ** 2).sum(1)
    line = float(left[np.flatnonzero(_EXPONENTS == 0)[0]])
    return min(aic(line, len(targets), 3), aic(float(left.min()), len(targets), 4))


def _rise(logs: Array, midpoint: float | Array, steepness: float | Array) -> Array:
    """From 0 to 1. The tanh form cannot overflow."""
    return np.asarray((1 + np.tanh(steepness * (logs - midpoint) / 2)) / 2)


def _curves(logs: Array) -> Curves:
    """Midpoints over the range of the data, and steepnesses from a tenth of it to all of it."""
    span = float(logs.max() - logs.min())
    middle, steep = np.meshgrid(
        np.linspace(logs.min(), logs.max(), _MIDPOINTS), np.geomspace(2 / span, 100 / span, _STEEPNESSES)
    )
    rises = _rise(logs, middle.reshape(-1, 1), steep.reshape(-1, 1))
    basis = np.linalg.qr(np.stack([np.ones_like(rises), rises], axis=2))[0]
    return Curves(middle.ravel(), steep.ravel(), basis)


def _closest(curves: Curves, targets: Array) -> tuple[Array, Array]:
    """For each row of `targets` [R, n] the index of the curve that leaves least, and the log of the midpoint, each [R].

    The midpoint is that of a parabola through the best one of the grid and its neighbors.
    """
    explained = ((targets @ curves.basis) ** 2).sum(2)
    at, rows = explained.argmax(0), np.arange(len(targets))
    inside = np.clip(at % _MIDPOINTS, 1, _MIDPOINTS - 2) + at // _MIDPOINTS * _MIDPOINTS
    before, here, after = (explained[inside + i, rows] for i in (-1, 0, 1))
    bend = np.minimum(before - 2 * here + after, -1e-300)
    moved = np.clip((before - after) / (2 * bend), -1, 1)
    step = curves.midpoints[1] - curves.midpoints[0]
    return at, np.asarray(curves.midpoints[inside] + moved * step)


def _refined(logs: Array, targets: Array, curves: Curves) -> tuple[float, float, float, float]:
    """The parameters of least squares, from the best curve of the grid: low, high, log of the midpoint, steepness."""
    at = int(_closest(curves, targets[None])[0][0])
    rise = _rise(logs, curves.midpoints[at], curves.steepnesses[at])
    low, step = np.linalg.lstsq(np.stack([np.ones_like(rise), rise], axis=1), targets, rcond=None)[0]
    start = [low, low + step, curves.midpoints[at], math.log(curves.steepnesses[at])]
    scale = float(np.ptp(targets)) or 1.0
    ends = np.log([curves.steepnesses.min() * 0.999, curves.steepnesses.max() * 1.001])
    bounds = ([-np.inf, -np.inf, logs.min() - 1e-9, ends[0]], [np.inf, np.inf, logs.max() + 1e-9, ends[1]])
    solution = least_squares(
        lambda t: (t[0] + (t[1] - t[0]) * _rise(logs, t[2], math.exp(t[3])) - targets) / scale,
        start,
        bounds=bounds,
    ).x
    return float(solution[0]), float(solution[1]), float(solution[2]), math.exp(solution[3])


def _midpoints(curves: Curves, fitted: Array, residuals: Array, resamples: int, seed: int) -> Array:
    """Logs of the midpoints of data that the sigmoid makes with resampled residuals, [resamples]."""
    points = len(fitted)
    freedom = points - 4
    wide = residuals * math.sqrt(points / freedom) * float(stdtrit(freedom, 0.975)) / NORMAL
    drawn = (wide - wide.mean())[np.random.default_rng(seed).integers(points, size=(resamples, points))]
    return _closest(curves, fitted + drawn)[1]
