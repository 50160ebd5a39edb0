"""Damped Gauss-Newton solver with Huber's cost, over a batch of data sets.

A law is f = E + sum_t exp(c_t - s_t u_t), where u_t is the centered log of a variable. Residuals are
log y - log f, and the cost is Huber's, as Hoffmann et al. 2022 (appendix D.3) have it. They minimize it by L-BFGS
from a grid of starts; here a batch of starts, or of resampled data, takes each step together.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

STEEPEST = 4.0
"""Largest exponent that is searched. A law steeper than this is a step to the eye."""
_BIGGEST_MOVE = 2.0
_SMALLEST_GAIN = 1e-9


class Batch(NamedTuple):
    """Data sets of one design that are fitted together."""

    logs: Array
    """Centered logs of the variables, [T, n]."""
    targets: Array
    """log y, centered, [R, n]."""
    weights: Array
    """How often each point counts, [R, n]."""
    delta: float
    """Where Huber's cost turns from squares to absolute values, in log y."""
    offset: tuple[float, float] = (0.0, math.inf)
    """Bounds of E, where the geometric mean of y is 1."""


class Solved(NamedTuple):
    """One law for each row."""

    theta: Array
    """[R, 1 + 2 T]: E, then for every variable the constant c and the exponent s."""
    cost: Array
    """[R]: Huber's cost, half the sum of squares where no residual is beyond delta."""


def predict(theta: Array, logs: Array) -> Array:
    """Values log f of the laws `theta` [R, p] at `logs` [T, n]: [R, n]."""
    return np.log(_terms(theta, logs)[0])


def jacobian(theta: Array, logs: Array) -> Array:
    """Derivatives of log f by the parameters, [R, p, n]."""
    value, terms = _terms(theta, logs)
    rows = [1 / value]
    for term, log in zip(terms, logs, strict=True):
        share = term / value
        rows += [share, -log * share]
    return np.stack(rows, axis=1)


def solve(batch: Batch, starts: Array, iterations: int = 60) -> Solved:
    """The laws of lowest cost that the iteration reaches from `starts` [R, p]."""
    lowest, highest = _bounds(starts.shape[1], batch.offset)
    theta = np.clip(starts, lowest, highest)
    damping = np.full(len(theta), 1e-3)
    rows, cost = np.arange(len(theta)), _cost(batch, theta)
    for _ in range(iterations):
        part = batch._replace(targets=batch.targets[rows], weights=batch.weights[rows])
        tried = np.clip(theta[rows] + _move(part, theta[rows], damping[rows]), lowest, highest)
        new = _cost(part, tried)
        better = new < cost[rows]
        gain = np.where(better, (cost[rows] - new) / (cost[rows] + 1e-300), 0.0)
        theta[rows[better]], cost[rows[better]] = tried[better], new[better]
        damping[rows] *= np.where(better, 0.2, 8.0)
        done = np.where(better, gain < _SMALLEST_GAIN, damping[rows] > 1e6)
        rows = rows[~done & (cost[rows] > 1e-24)]
        if not len(rows):
            break
    return Solved(theta, cost)


def _terms(theta: Array, logs: Array) -> tuple[Array, Array]:
    """Values f [R, n], kept above 0 where E is negative, and their powers [T, R, n]."""
    terms = np.exp(theta[:, 1::2].T[:, :, None] - theta[:, 2::2].T[:, :, None] * logs[:, None])
    return np.maximum(theta[:, :1] + terms.sum(0), 1e-9), terms


def _bounds(parameters: int, offset: tuple[float, float]) -> tuple[Array, Array]:
    variables = (parameters - 1) // 2
    lowest = np.array([offset[0], *[-30.0, 0.0] * variables])
    highest = np.array([offset[1], *[30.0, STEEPEST] * variables])
    return lowest, highest


def _cost(batch: Batch, theta: Array) -> Array:
    away = np.abs(batch.targets - predict(theta, batch.logs))
    near = np.minimum(away, batch.delta)
    return np.asarray((batch.weights * near * (away - near / 2)).sum(1))


def _move(batch: Batch, theta: Array, damping: Array) -> Array:
    """The damped Gauss-Newton step; parameters that a bound holds stay where they are."""
    slopes = jacobian(theta, batch.logs)
    residuals = batch.targets - predict(theta, batch.logs)
    weights = batch.weights * np.minimum(1.0, batch.delta / np.maximum(np.abs(residuals), 1e-300))
    weighted = slopes * weights[:, None]
    downhill = (weighted * residuals[:, None]).sum(2)
    lowest, highest = _bounds(theta.shape[1], batch.offset)
    free = ~(((theta <= lowest) & (downhill <= 0)) | ((theta >= highest) & (downhill >= 0)))
    normal = (weighted @ slopes.transpose(0, 2, 1)) * (free[:, :, None] & free[:, None, :])
    diagonal = np.einsum("rpp->rp", normal)
    diagonal += damping[:, None] * diagonal + 1e-12 + ~free
    step = np.linalg.solve(normal, (downhill * free)[..., None])[..., 0]
    size = np.abs(step).max(1, keepdims=True)
    return np.asarray(step * np.minimum(1.0, _BIGGEST_MOVE / np.maximum(size, _BIGGEST_MOVE)))
