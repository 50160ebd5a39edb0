"""Resampled laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import stdtrit

from sslkit.analysis.scaling.bootstrap import leverage, over_points, over_residuals, refit
from sslkit.analysis.scaling.fit import best
from sslkit.analysis.scaling.gauss_newton import jacobian, predict
from sslkit.errors import SpecError
from tests.analysis.scaling.test_gauss_newton import one, two


@pytest.mark.parametrize("make", [one, two])
def test_leverage_is_the_diagonal_of_the_hat_matrix(make):
    batch = make()
    theta, _ = best(batch)
    slopes = jacobian(theta[None], batch.logs)[0].T
    hat = slopes @ np.linalg.pinv(slopes)
    np.testing.assert_allclose(leverage(theta, batch.logs), np.diag(hat), atol=1e-6)
    assert leverage(theta, batch.logs).sum() == pytest.approx(len(theta))


def test_leverage_of_a_direction_that_does_nothing_is_left_out():
    batch = one()
    flat = np.array([1.0, -800.0, 0.5])  # the power is nothing beside the offset
    assert leverage(flat, batch.logs).sum() == pytest.approx(1)


def test_resamples_scatter_around_the_fit():
    batch = one(noise=0.01, delta=0.02)
    theta, _ = best(batch)
    drawn = over_residuals(batch, theta, 400, np.random.default_rng(0))
    assert drawn.shape == (400, 3)
    assert abs(np.median(drawn[:, 2]) - theta[2]) < 0.5 * drawn[:, 2].std()


def test_resamples_of_the_curve_scatter_as_theory_says():
    """At the points the spread of log f is sigma sqrt(leverage), widened by Student's quantile."""
    batch = one(noise=0.01, points=30)
    theta, cost = best(batch)
    drawn = over_residuals(batch, theta, 2000, np.random.default_rng(0))
    sigma = math.sqrt(2 * cost / 27)
    expected = sigma * np.sqrt(leverage(theta, batch.logs)) * stdtrit(27, 0.975) / 1.96
    np.testing.assert_allclose(predict(drawn, batch.logs).std(0), expected, rtol=0.15)


def test_exact_data_have_resamples_without_scatter():
    batch = one(noise=0.0)
    theta, _ = best(batch)
    drawn = over_residuals(batch, theta, 100, np.random.default_rng(0))
    np.testing.assert_allclose(drawn, np.tile(theta, (100, 1)), atol=1e-4)


def test_resamples_may_have_a_negative_offset_and_fits_may_not():
    batch = one(noise=0.02, seed=1)
    low = np.array([0.01, *best(batch)[0][1:]])
    fitted = predict(low[None], batch.logs)
    targets = fitted + 0.03 * np.random.default_rng(0).standard_normal((200, fitted.shape[1]))
    assert (refit(batch, low, targets, None)[:, 0] < 0).any()
    assert (refit(batch._replace(offset=(0.0, 0.0)), low, targets, None)[:, 0] == 0).all()


def test_draws_of_points_have_enough_different_places():
    batch = one(noise=0.01, points=5)
    theta, _ = best(batch)
    drawn = over_points(batch, theta, 300, np.random.default_rng(0))
    assert drawn.shape == (300, 3)
    assert np.isfinite(drawn).all()


def test_repeats_of_few_places_are_not_different_points():
    """Twelve runs at three sizes: a draw must have all three to fit three parameters."""
    batch = one(noise=0.01, points=12)
    logs = np.repeat([[-1.0, 0.0, 1.0]], 4, axis=0).reshape(1, 12)
    drawn = over_points(batch._replace(logs=logs), np.array([0.1, 0.0, 0.2]), 100, np.random.default_rng(0))
    assert drawn.shape == (100, 3)
    with pytest.raises(
        SpecError, match=r"^degenerate bootstrap: 100% of the draws from 12 points have fewer than 3"
    ):
        over_points(
            batch._replace(logs=np.sign(logs - 0.5)), np.array([0.1, 0.0, 0.2]), 100, np.random.default_rng(0)
        )


def test_the_generator_decides():
    batch = one(noise=0.01)
    theta, _ = best(batch)
    draws = [over_residuals(batch, theta, 50, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
