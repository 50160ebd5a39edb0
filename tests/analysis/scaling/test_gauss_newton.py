"""The batched solver, against derivatives, scipy and the objective of Hoffmann et al. 2022."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.optimize import least_squares, minimize
from scipy.special import logsumexp

from sslkit.analysis.scaling.fit import best
from sslkit.analysis.scaling.gauss_newton import STEEPEST, Batch, jacobian, predict, solve
from tests.analysis.scaling import planted


def batch_of(logs, y, **changes):
    """The data as the solver takes them: centerd logs, one row."""
    logs = np.atleast_2d(logs)
    log_y = np.log(y)
    made = Batch(
        logs - logs.mean(1, keepdims=True), (log_y - log_y.mean())[None], np.ones((1, len(y))), math.inf
    )
    return made._replace(**changes)


def one(noise=0.02, seed=0, points=10, **changes):
    x, y = planted.single(points, noise, seed)
    return batch_of(np.log(x), y, **changes)


def two(noise=0.02, seed=0, **changes):
    n, d, y = planted.grid(noise=noise, seed=seed)
    return batch_of(np.log(np.stack([n, d])), y, **changes)


@pytest.mark.parametrize("theta", [[0.3, -0.5, 0.4], [0.0, 0.1, 1.2], [-0.2, 0.4, 0.2]])
def test_the_jacobian_of_one_variable_is_that_of_finite_differences(theta):
    theta, logs = np.array([theta]), one().logs
    assert jacobian(theta, logs)[0] == pytest.approx(differences(theta, logs), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("theta", [[0.3, -0.5, 0.4, -1.0, 0.2], [0.0, 0.1, 0.9, 0.2, 0.05]])
def test_the_jacobian_of_two_variables_is_that_of_finite_differences(theta):
    theta, logs = np.array([theta]), two().logs
    assert jacobian(theta, logs)[0] == pytest.approx(differences(theta, logs), rel=1e-6, abs=1e-8)


def differences(theta, logs):
    """Slopes by each of `theta`, a row each, of finite differences."""
    steps = 1e-6 * np.eye(theta.shape[1])
    return np.stack([(predict(theta + step, logs) - predict(theta - step, logs))[0] / 2e-6 for step in steps])


def test_predict_is_the_log_of_the_law():
    logs = np.array([[-1.0, 0.0, 2.0], [0.5, -0.5, 0.0]])
    theta = np.array([[0.2, 0.1, 0.5, -0.3, 0.25]])
    expected = np.log(0.2 + np.exp(0.1 - 0.5 * logs[0]) + np.exp(-0.3 - 0.25 * logs[1]))
    np.testing.assert_allclose(predict(theta, logs)[0], expected, rtol=1e-14)


def test_predict_stays_finite_where_a_negative_offset_outweighs_the_power():
    assert np.isfinite(predict(np.array([[-1.0, -3.0, 0.5]]), np.array([[0.0, 5.0]]))).all()


@pytest.mark.parametrize("make", [one, two])
@pytest.mark.parametrize("seed", range(4))
def test_least_squares_are_those_of_scipy(make, seed):
    batch = make(seed=seed)
    theta, cost = best(batch)

    def residuals(t):
        return predict(t[None], batch.logs)[0] - batch.targets[0]

    variables = len(batch.logs)
    bounds = ([0.0, *[-30, 0] * variables], [np.inf, *[30, STEEPEST] * variables])
    fits = [
        least_squares(residuals, [e, *[-0.7, s] * variables], bounds=bounds, xtol=1e-14, ftol=1e-14)
        for e, s in itertools.product((0.05, 0.5), (0.1, 0.6))
    ]
    found = min(fits, key=lambda fit: fit.cost)
    assert cost == pytest.approx(found.cost, rel=1e-6)
    assert cost <= found.cost * (1 + 1e-9), "ours is no worse"
    np.testing.assert_allclose(theta[2::2], found.x[2::2], rtol=2e-3)


@pytest.mark.parametrize("delta", [1e-3, 0.02])
@pytest.mark.parametrize("seed", range(2))
def test_the_joint_law_has_the_least_cost_of_the_published_objective(delta, seed):
    """Hoffmann et al. 2022, appendix D.3: LSE of three terms, Huber's cost, BFGS from a grid of starts."""
    batch = two(seed=seed, delta=delta)

    def objective(t):
        terms = np.stack(
            [t[0] - t[1] * batch.logs[0], t[2] - t[3] * batch.logs[1], np.full(batch.logs.shape[1], t[4])]
        )
        away = np.abs(batch.targets[0] - logsumexp(terms, axis=0))
        near = np.minimum(away, delta)
        return 1e3 * (near * (away - near / 2)).sum()

    starts = itertools.product((-1.5, -0.5), (0.2, 0.5), (-1.0,), (0.2, 0.5), (-1.0,))
    reference = min(minimize(objective, start, method="L-BFGS-B").fun for start in starts) / 1e3
    assert best(batch)[1] <= reference * (1 + 1e-4)
    assert best(batch)[1] >= reference * 0.9, "the same minimum, which their line search ends near"


def test_exact_data_are_fitted_exactly():
    for batch in (one(noise=0.0), two(noise=0.0)):
        theta, cost = best(batch)
        assert cost < 1e-16
        np.testing.assert_allclose(predict(theta[None], batch.logs), batch.targets, atol=1e-7)


def test_rows_of_a_batch_do_not_see_each_other():
    rows = [one(seed=seed) for seed in range(5)]
    start = np.array([0.2, -0.5, 0.3])
    many = rows[0]._replace(
        targets=np.concatenate([row.targets for row in rows]), weights=np.ones((5, 10)), delta=0.01
    )
    together = solve(many, np.tile(start, (5, 1)))
    for i, row in enumerate(rows):
        alone = solve(row._replace(delta=0.01), start[None])
        np.testing.assert_allclose(together.theta[i], alone.theta[0], rtol=1e-9, atol=1e-12)
        assert together.cost[i] == pytest.approx(alone.cost[0])


def test_a_weight_counts_as_a_repeated_point():
    x, y = planted.single(8, 0.02, seed=3)
    counts = np.array([2, 1, 0, 3, 1, 1, 2, 1])
    weighted = batch_of(np.log(x), y, weights=counts[None].astype(float))
    repeated = Batch(
        np.repeat(weighted.logs, counts, axis=1),
        np.repeat(weighted.targets, counts, axis=1),
        np.ones((1, counts.sum())),
        math.inf,
    )
    theta = best(weighted)[0]
    np.testing.assert_allclose(theta, best(repeated)[0], rtol=1e-4, atol=1e-6)


def test_without_an_offset_it_is_a_straight_line_in_log_log():
    batch = one(offset=(0.0, 0.0))
    theta, cost = best(batch)
    slope, level = np.polyfit(batch.logs[0], batch.targets[0], 1)
    np.testing.assert_allclose(theta, [0.0, level, -slope], rtol=1e-5, atol=1e-9)
    assert cost == pytest.approx(0.5 * np.polyfit(batch.logs[0], batch.targets[0], 1, full=True)[1][0])


def test_the_offset_is_not_negative_unless_it_may_be():
    x = np.geomspace(1, 100, 12)
    y = x**-0.2 - 0.2  # falls faster than any power law
    assert best(batch_of(np.log(x), y))[0][0] == 0.0
    free = batch_of(np.log(x), y, offset=(-1.0, math.inf))
    solved = solve(free, np.array([[0.1, 0.0, 0.3]]))
    assert solved.theta[0, 0] == pytest.approx(-0.2 / np.exp(np.log(y).mean()), rel=1e-2)


def test_the_exponent_stays_within_its_bounds():
    x = np.geomspace(1, 1e4, 8)
    steep = best(batch_of(np.log(x), np.where(x < 2, 2.0, 1.0)))[0]
    assert steep[2] == STEEPEST
    rising = best(batch_of(np.log(x), x**0.1))[0]
    assert rising[2] <= 1e-6


def test_one_outlier_hardly_moves_a_robust_fit():
    x, y = planted.single(12, 0.005, seed=1)
    clean = best(batch_of(np.log(x), y))[0][2]
    y[5] *= 1.4
    squares, robust = (best(batch_of(np.log(x), y, delta=d))[0][2] for d in (math.inf, 0.007))
    assert abs(robust - clean) < 0.03
    assert abs(squares - clean) > 3 * abs(robust - clean)


@pytest.mark.parametrize("make", [one, two])
def test_starting_at_the_fit_finds_the_minimum_of_resampled_data(make):
    """The bootstrap starts there: no resample may stay in a worse minimum than a grid of starts finds."""
    batch = make(seed=5)
    theta, _ = best(batch)
    fitted = predict(theta[None], batch.logs)
    noise = 0.02 * np.random.default_rng(0).standard_normal((40, fitted.shape[1]))
    many = batch._replace(targets=fitted + noise, weights=np.ones_like(noise))
    warm = solve(many, np.tile(theta, (40, 1)))
    grid = [best(batch._replace(targets=targets[None]))[1] for targets in many.targets]
    assert (warm.cost < np.array(grid) * (1 + 1e-3)).all()
