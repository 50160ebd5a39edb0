"""Fits of scaling laws by robust least squares, with bootstrap intervals, or a reason why there are none.

Sources: Kaplan et al. 2020 (arXiv:2001.08361) for laws of one variable; Hoffmann et al. 2022 (arXiv:2203.15556) for the
joint law, Huber's cost on log residuals and the compute-optimal split; Besiroglu et al. 2024 (arXiv:2404.10102) for how
narrow intervals go wrong; Efron 1979 and Davison and Hinkley 1997 for the bootstrap.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np

from sslkit.analysis.scaling import data_checks
from sslkit.analysis.scaling.bootstrap import over_points, over_residuals
from sslkit.analysis.scaling.estimates import Support, estimate
from sslkit.analysis.scaling.gauss_newton import Array, Batch, predict, solve
from sslkit.analysis.scaling.laws import JointLaw, PowerLaw, Sample
from sslkit.errors import SpecError

RESAMPLES = 1000
HUBER = 1.345
"""Huber's delta in standard deviations: 95 % efficient with normal noise (Huber 1981)."""
FLOPS = 6.0
"""FLOPs for each parameter and token, forward and backward (Kaplan et al. 2020, section 2.1)."""

Over = Literal["residuals", "points"]
_DRAWS: Mapping[Over, Callable[[Batch, Array, int, np.random.Generator], Array]] = MappingProxyType(
    {"residuals": over_residuals, "points": over_points}
)
_EXPONENTS = {1: (0.05, 0.2, 0.5, 1.2), 2: (0.1, 0.3, 0.9)}
_OFFSETS = (0.0, 0.5, 0.9)
_ROUGH, _KEPT = 8, 3  # after a few steps most starts are on the way to the same law, or to a bad one


class Fitted(NamedTuple):
    """A fitted law with its data and cost."""

    batch: Batch
    theta: Array
    cost: float
    scale: float
    """Geometric mean of y."""
    center: Array


def fit_power_law(
    x: Sequence[float] | Array,
    y: Sequence[float] | Array,
    *,
    resamples: int = RESAMPLES,
    over: Over = "residuals",
    delta: float | None = None,
    seed: int = 0,
    names: tuple[str, str] = ("x", "y"),
) -> PowerLaw:
    """Fit y = E + A x^-alpha with E >= 0.

    Args:
        x: size, images seen or compute of every run, [n], above 0, in any unit.
        y: loss or error of every run, [n], above 0. Several runs (seeds) may share an x.
        resamples: bootstrap resamples.
        over: `residuals` assumes noise of one relative size and keeps every x (default); `points` draws runs with
            replacement, as Besiroglu et al. 2024 do.
        delta: where Huber's cost on log residuals turns linear. Default: 1.345 standard deviations of the noise
            (Huber 1981). Hoffmann et al. 2022 use 1e-3.
        seed: of the bootstrap.
        names: what messages call x and y.

    Raises:
        SpecError: the data cannot support a law; the message says why.
    """
    values, targets = data_checks.numbers(x, names[0]), data_checks.numbers(y, names[1])
    data_checks.lengths({names[0]: values, names[1]: targets})
    data_checks.few_places(values, names[0])
    data_checks.narrow(values, names[0])
    fitted = _fit(np.log(values)[None], targets, delta)
    support = _support(fitted)
    data_checks.flat(support, *names)
    sample = _sample(fitted, resamples, over, seed)
    data_checks.degenerate(sample.theta, (names[0],))
    return PowerLaw(
        exponent=estimate(sample.exponent(0)),
        coefficient=estimate(sample.coefficient(0)),
        offset=estimate(sample.offset()),
        r2=_r2(fitted),
        noise=_noise(fitted),
        support=support,
        x=values,
        y=targets,
        sample=sample,
    )


def fit_joint(
    parameters: Sequence[float] | Array,
    images: Sequence[float] | Array,
    y: Sequence[float] | Array,
    *,
    cost: float = FLOPS,
    resamples: int = RESAMPLES,
    over: Over = "residuals",
    delta: float | None = None,
    seed: int = 0,
    names: tuple[str, str, str] = ("parameters", "images", "y"),
) -> JointLaw:
    """Fit y = E + A / N^alpha + B / D^beta with E >= 0 (Hoffmann et al. 2022, approach 3).

    Args:
        parameters: N of every run, [n].
        images: D of every run: images seen (or tokens), [n].
        y: loss or error of every run, [n], above 0.
        cost: FLOPs for each parameter and image. Default: 6, which is for one token an image.
        resamples: bootstrap resamples.
        over: `residuals` or `points`, as in `fit_power_law`.
        delta: as in `fit_power_law`.
        seed: of the bootstrap.
        names: what messages call the three.

    Raises:
        SpecError: the data cannot support the law; the message says why.
    """
    columns = [data_checks.numbers(v, name) for v, name in zip((parameters, images, y), names, strict=True)]
    data_checks.lengths(dict(zip(names, columns, strict=True)))
    data_checks.few_runs(len(columns[2]))
    for values, name in zip(columns[:2], names, strict=False):
        data_checks.few_levels(values, name)
        data_checks.narrow(values, name)
    data_checks.together(columns[0], columns[1], names)
    fitted = _fit(np.log(np.stack(columns[:2])), columns[2], delta)
    support = _support(fitted)
    data_checks.flat(support, f"{names[0]} and {names[1]}", names[2])
    for i, name in enumerate(names[:2]):
        data_checks.idle(
            support, _aic(fitted, fitted.batch._replace(logs=fitted.batch.logs[[1 - i]])), name, names[2]
        )
    sample = _sample(fitted, resamples, over, seed)
    data_checks.degenerate(sample.theta, names[:2])
    alpha, beta = sample.exponent(0), sample.exponent(1)
    return JointLaw(
        alpha=estimate(alpha),
        beta=estimate(beta),
        parameters_coefficient=estimate(sample.coefficient(0)),
        images_coefficient=estimate(sample.coefficient(1)),
        offset=estimate(sample.offset()),
        split=estimate(beta / np.maximum(alpha + beta, 1e-12)),
        r2=_r2(fitted),
        noise=_noise(fitted),
        support=support,
        cost=cost,
        parameters=columns[0],
        images=columns[1],
        y=columns[2],
        sample=sample,
    )


def _fit(logs: Array, y: Array, delta: float | None) -> Fitted:
    """The law of least Huber cost; without a `delta`, from the spread around the law of least squares."""
    center, scale = logs.mean(1), float(np.exp(np.log(y).mean()))
    batch = Batch(logs - center[:, None], (np.log(y) - np.log(scale))[None], np.ones((1, len(y))), math.inf)
    if delta is None:
        residuals = batch.targets - predict(best(batch)[0][None], batch.logs)
        freedom = max(len(y) - 1 - 2 * len(logs), 1)
        spread = 1.4826 * float(np.median(np.abs(residuals))) * math.sqrt(len(y) / freedom)
        delta = max(HUBER * spread, 1e-6)
    elif not delta > 0:
        raise SpecError(f"delta: must be above 0, found {delta:g}")
    batch = batch._replace(delta=delta)
    return Fitted(batch, *best(batch), scale, center)


def best(batch: Batch) -> tuple[Array, float]:
    """The law of least cost over a grid of starts, for data of one row: parameters [p] and cost."""
    variables, floor = len(batch.logs), float(np.exp(batch.targets.min()))
    starts = [
        [share * floor, *itertools.chain(*([math.log((1 - share * floor) / variables), s] for s in slopes))]
        for share in _OFFSETS
        for slopes in itertools.product(_EXPONENTS[variables], repeat=variables)
    ]
    few = solve(_repeated(batch, len(starts)), np.array(starts), iterations=_ROUGH)
    promising = few.theta[np.argsort(few.cost)[:_KEPT]]
    solved = solve(_repeated(batch, len(promising)), promising)
    at = int(solved.cost.argmin())
    return solved.theta[at], float(solved.cost[at])


def _repeated(batch: Batch, rows: int) -> Batch:
    """The data of one row, `rows` times."""
    return batch._replace(
        targets=np.tile(batch.targets, (rows, 1)), weights=np.tile(batch.weights, (rows, 1))
    )


def _sample(fitted: Fitted, resamples: int, over: Over, seed: int) -> Sample:
    if over not in _DRAWS:
        raise SpecError(f"over: must be one of {', '.join(_DRAWS)}, found {over!r}")
    if resamples < 100:
        raise SpecError(f"resamples: 95 % intervals need at least 100, found {resamples}")
    drawn = _DRAWS[over](fitted.batch, fitted.theta, resamples, np.random.default_rng(seed))
    return Sample(np.concatenate([fitted.theta[None], drawn]), fitted.center, fitted.scale)


def _support(fitted: Fitted) -> Support:
    parameters = len(fitted.theta)
    law = 2 * fitted.cost / _variance(fitted) + 2 * parameters
    no_offset = _aic(fitted, fitted.batch._replace(offset=(0.0, 0.0))) - 2
    away = np.abs(fitted.batch.targets - np.median(fitted.batch.targets))
    near = np.minimum(away, fitted.batch.delta)
    constant = 2 * float((near * (away - near / 2)).sum()) / _variance(fitted) + 2
    return Support(law, no_offset, constant)


def _aic(fitted: Fitted, simpler: Batch) -> float:
    """Robust AIC of a simpler law: twice its Huber cost over the variance of the whole law, and its parameters."""
    return 2 * best(simpler)[1] / _variance(fitted) + 2 * (1 + 2 * len(simpler.logs))


def _variance(fitted: Fitted) -> float:
    freedom = int(fitted.batch.targets.shape[1]) - len(fitted.theta)
    return max(float(2 * fitted.cost) / freedom, 1e-16)


def _noise(fitted: Fitted) -> float:
    return math.sqrt(_variance(fitted))


def _r2(fitted: Fitted) -> float:
    targets = fitted.batch.targets[0]
    residuals = targets - predict(fitted.theta[None], fitted.batch.logs)[0]
    return 1 - float((residuals**2).sum() / ((targets - targets.mean()) ** 2).sum())
