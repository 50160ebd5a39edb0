"""Test for a break in a scaling law: two straight lines in log-log against one smooth power law.

A break at an unknown place has no F distribution (Davies 1987), so the p-value is that of a parametric bootstrap
(Davison and Hinkley 1997, section 4.4): the same statistic on data that the smooth law makes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sslkit.analysis.scaling import data_checks
from sslkit.analysis.scaling.estimates import DECISIVE
from sslkit.analysis.scaling.fit import best
from sslkit.analysis.scaling.gauss_newton import Array, Batch, predict, solve
from sslkit.errors import SpecError

PLACES = 7
"""Different x that the test needs: three on each side of the break and one between."""
SIDE = 3
"""Different x on each side, so that one odd run makes no break."""
RESAMPLES = 499
SIGNIFICANT = 0.05


class Break(NamedTuple):
    """Two straight lines in log-log, and whether they beat a smooth power law with an offset."""

    at: float
    """x of the most likely break, in the unit of the data."""
    before: float
    """Slope of log y over log x below it; -0.3 is a law of exponent 0.3."""
    after: float
    """Slope above it."""
    f: float
    """F statistic: reduction of the residual squares by the lines, over what they leave."""
    p: float
    """How often smooth data give as large an F."""
    aic_smooth: float
    """AIC of the power law with an offset."""
    aic_broken: float
    """AIC of the two lines."""

    @property
    def found(self) -> bool:
        """Whether p < 0.05 and AIC prefers the lines by 2 or more."""
        return self.p < SIGNIFICANT and self.aic_smooth - self.aic_broken >= DECISIVE

    @property
    def verdict(self) -> str:
        """The finding in words."""
        lead = self.aic_smooth - self.aic_broken
        if not self.found:
            return f"no evidence of a break (p = {self.p:.2g}, AIC {lead:+.1f})"
        return (
            f"a break near x = {self.at:.3g}: slope {self.before:.2f} before, {self.after:.2f} after "
            f"(p = {self.p:.2g}, AIC {lead:+.1f})"
        )


class Lines(NamedTuple):
    """All the broken lines that are fitted."""

    places: Array
    """Logs of the candidate breaks, [K]."""
    design: Array
    """Columns 1, log x and what log x is past the break, [K, n, 3]."""
    basis: Array
    """Orthonormal columns of the same spans, [K, n, 3]."""


def find_break(
    x: Sequence[float] | Array,
    y: Sequence[float] | Array,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    names: tuple[str, str] = ("x", "y"),
) -> Break:
    """Test a power law with an offset against two straight lines in log-log.

    A break that flattens looks like an offset, and the test does not claim it; one that steepens does not. A sharp
    change of a metric such as accuracy may come from the metric and not the network (Schaeffer et al. 2023,
    arXiv:2304.15004): test the loss as well.

    Args:
        x: size, images seen or compute, [n], above 0.
        y: loss or error, [n], above 0.
        resamples: bootstrap resamples.
        seed: of the bootstrap.
        names: what messages call x and y.

    Raises:
        SpecError: fewer than seven different x, or values that no logarithm can take.
    """
    values, targets = data_checks.numbers(x, names[0]), data_checks.numbers(y, names[1])
    data_checks.lengths({names[0]: values, names[1]: targets})
    lines = _lines(np.log(values), names[0])
    scale = np.log(targets).mean()
    logs = (np.log(values) - np.log(values).mean())[None]
    batch = Batch(logs, (np.log(targets) - scale)[None], np.ones((1, len(values))), math.inf)
    theta, cost = best(batch)
    f, at = statistic(np.array([2 * cost]), batch.targets, lines)
    smooth = f[0], _resampled(batch, theta, lines, resamples, seed)
    p = (1 + np.sum(smooth[1] >= smooth[0])) / (1 + resamples)
    coefficients, *_ = np.linalg.lstsq(lines.design[at[0]], batch.targets[0], rcond=None)
    left = float(_squares(batch.targets, lines)[at[0], 0])
    return Break(
        at=float(np.exp(lines.places[at[0]])),
        before=float(coefficients[1]),
        after=float(coefficients[1] + coefficients[2]),
        f=float(f[0]),
        p=float(p),
        aic_smooth=aic(2 * cost, len(values), 4),
        aic_broken=aic(left, len(values), 5),
    )


def aic(squares: float, points: int, parameters: int) -> float:
    """Akaike's criterion of normal noise of unknown size, which counts as a parameter."""
    return points * math.log(max(squares, 1e-300) / points) + 2 * parameters


def statistic(squares: Array, targets: Array, lines: Lines) -> tuple[Array, Array]:
    """F [R] of the best break of each row of `targets` [R, n], and its index [R].

    Args:
        squares: residual sum of squares of the smooth law, [R].
        targets: log y, [R, n].
        lines: the breaks that are fitted.
    """
    left = _squares(targets, lines)
    at = left.argmin(0)
    least = np.maximum(left.min(0), 1e-300)
    return (squares - least) / (least / (targets.shape[1] - 4)), at


def _squares(targets: Array, lines: Lines) -> Array:
    """Residual sums of squares of the lines for `targets` [R, n]: [K, R]."""
    explained = (targets @ lines.basis) ** 2
    return np.asarray((targets**2).sum(1) - explained.sum(2))


def _lines(logs: Array, name: str) -> Lines:
    """Breaks between the different x, those with three or more on each side: at each x, and half way to the next."""
    distinct = np.unique(logs)
    if len(distinct) < PLACES:
        raise SpecError(
            f"{name}: {len(distinct)} different values; a test for a break needs at least {PLACES}. Add runs at other "
            f"values of {name}"
        )
    inner = distinct[SIDE - 1 : len(distinct) - SIDE + 1]
    places = np.sort(np.concatenate([inner[1:-1], (inner[1:] + inner[:-1]) / 2]))
    hinge = np.maximum(logs - places[:, None], 0.0)
    design = np.stack([np.ones_like(hinge), np.broadcast_to(logs, hinge.shape), hinge], axis=2)
    return Lines(places, design, np.linalg.qr(design)[0])


def _resampled(batch: Batch, theta: Array, lines: Lines, resamples: int, seed: int) -> Array:
    """F of data that the smooth law makes with normal noise, [resamples]. F does not depend on its size."""
    fitted = predict(theta[None], batch.logs)
    freedom = max(fitted.shape[1] - len(theta), 1)
    spread = math.sqrt(max(float(((batch.targets - fitted) ** 2).sum()) / freedom, 1e-20))
    noise = np.random.default_rng(seed).standard_normal((resamples, fitted.shape[1]))
    targets = fitted + spread * noise
    many = batch._replace(targets=targets, weights=np.ones_like(targets))
    solved = solve(many, np.tile(theta, (resamples, 1)))
    return statistic(2 * solved.cost, targets, lines)[0]
