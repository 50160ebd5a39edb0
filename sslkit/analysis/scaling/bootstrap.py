"""Bootstrap resamples for the confidence intervals of a scaling law."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import stdtrit

from sslkit.analysis.scaling.gauss_newton import Array, Batch, jacobian, predict, solve
from sslkit.errors import SpecError

LOWEST_OFFSET = -1.0
"""How far E may fall in resamples. A bound at the true value would make the bootstrap inconsistent (Andrews 2000)."""
_ITERATIONS = 30  # from the fit, all but a few rows in flat valleys are done in ten
NORMAL = 1.959964
"""The 97.5 % point of the normal distribution."""


def over_residuals(batch: Batch, theta: Array, resamples: int, rng: np.random.Generator) -> Array:
    """Laws of data that the fitted law makes with resampled residuals, [R, p].

    The residuals are divided by sqrt(1 - leverage) and centered (Davison and Hinkley 1997, section 6.2.3), and widened
    by Student's over the normal quantile, so that percentiles of few points do not come out too narrow.

    Args:
        batch: the data, one row.
        theta: the fitted law, [p].
        resamples: R.
        rng: draws the resamples.
    """
    fitted, points = predict(theta[None], batch.logs), batch.targets.shape[1]
    residuals = (batch.targets - fitted)[0] / np.sqrt(np.maximum(1 - leverage(theta, batch.logs), 0.05))
    wide = float(stdtrit(points - len(theta), 0.975)) / NORMAL
    drawn = (residuals - residuals.mean())[rng.integers(points, size=(resamples, points))]
    return refit(batch._replace(delta=batch.delta * wide), theta, fitted + wide * drawn, None)


def over_points(batch: Batch, theta: Array, resamples: int, rng: np.random.Generator) -> Array:
    """Laws of points drawn with replacement, [R, p], as Besiroglu et al. 2024 do.

    Assumes nothing of the noise, but needs more points. Draws with too few different points are drawn anew.

    Raises:
        SpecError: two draws of three have too few different points.
    """
    points = batch.targets.shape[1]
    counts = rng.multinomial(points, np.full(points, 1 / points), size=3 * resamples).astype(np.float64)
    places = np.unique(batch.logs.T, axis=0, return_inverse=True)[1].reshape(-1)
    seen = np.stack([counts[:, places == place].sum(1) > 0 for place in np.unique(places)])
    usable = counts[seen.sum(0) >= len(theta)]
    if len(usable) < resamples:
        raise SpecError(
            f"degenerate bootstrap: {1 - len(usable) / len(counts):.0%} of the draws from {points} points have fewer "
            f"than {len(theta)} different ones. Add points, or resample residuals"
        )
    return refit(batch, theta, np.tile(batch.targets, (resamples, 1)), usable[:resamples])


def refit(batch: Batch, theta: Array, targets: Array, weights: Array | None) -> Array:
    """The laws of `targets` [R, n], from the start `theta` [p]: [R, p]."""
    counts = np.ones_like(targets) if weights is None else weights
    many = batch._replace(
        targets=targets,
        weights=counts,
        offset=(LOWEST_OFFSET if batch.offset[1] > 0 else 0.0, batch.offset[1]),
    )
    return solve(many, np.tile(theta, (len(targets), 1)), iterations=_ITERATIONS).theta


def leverage(theta: Array, logs: Array) -> Array:
    """Leverage of each point on its own fitted value, [n], between 0 and 1."""
    slopes = jacobian(theta[None], logs)[0]
    left, size, _ = np.linalg.svd(slopes.T / np.maximum(np.abs(slopes).max(1), 1e-300), full_matrices=False)
    return np.asarray((left[:, size > math.sqrt(np.finfo(float).eps) * size[0]] ** 2).sum(1))
