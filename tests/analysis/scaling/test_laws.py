"""Results in the units of the data, over many planted laws."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sslkit.analysis.scaling.estimates import Optimum, Prediction, band, estimate
from sslkit.analysis.scaling.fit import fit_joint, fit_power_law
from sslkit.analysis.scaling.laws import Sample

LAWS = list(itertools.product((0.08, 0.3, 0.7, 1.5), (0.0, 0.2, 2.0), (1e-3, 1.0, 1e6)))


@pytest.fixture
def sample():
    """Two laws of one variable: 2 (0.5 + exp(0.1 - 0.3 (log x - 4))) and one with a negative offset."""
    theta = np.array([[0.5, 0.1, 0.3], [-0.2, 0.2, 0.4]])
    return Sample(theta, np.array([4.0]), 2.0)


@pytest.mark.parametrize(("alpha", "offset", "unit"), LAWS)
def test_exact_laws_of_one_variable_are_recovered(alpha, offset, unit):
    x = np.geomspace(1, 1e4, 9)
    law = fit_power_law(x * unit, offset + x**-alpha, resamples=100)
    assert law.exponent.value == pytest.approx(alpha, rel=2e-3, abs=1e-4)
    assert law.offset.value == pytest.approx(offset, rel=1e-3, abs=2e-3)
    assert law.coefficient.value == pytest.approx(unit**alpha, rel=2e-2)
    assert law.predict(unit * 1e5).value.value == pytest.approx(offset + 1e5**-alpha, rel=2e-3)


@pytest.mark.parametrize(("alpha", "beta"), [(0.34, 0.28), (0.5, 0.1), (0.15, 0.6), (0.8, 0.8)])
def test_exact_joint_laws_are_recovered(alpha, beta):
    """The first pair is close to that of Hoffmann et al. 2022."""
    n, d = (each.ravel() for each in np.meshgrid(np.geomspace(1, 1e3, 4), np.geomspace(1, 1e4, 5)))
    law = fit_joint(n, d, 0.5 + 1.5 * n**-alpha + 0.8 * d**-beta, resamples=100)
    assert (law.alpha.value, law.beta.value) == pytest.approx((alpha, beta), rel=2e-3)
    assert law.split.value == pytest.approx(beta / (alpha + beta), rel=2e-3)
    best = law.optimum(6e5)
    ratio = (alpha * 1.5 / (beta * 0.8)) ** (1 / (alpha + beta))
    assert best.parameters.value == pytest.approx(ratio * 1e5 ** (beta / (alpha + beta)), rel=1e-2)


def test_equal_exponents_split_compute_in_halves():
    n, d = (each.ravel() for each in np.meshgrid(np.geomspace(1, 1e3, 4), np.geomspace(1, 1e3, 4)))
    law = fit_joint(n, d, 0.5 + n**-0.4 + d**-0.4, resamples=100, cost=1.0)
    assert law.split.value == pytest.approx(0.5, rel=1e-3)
    best = law.optimum(1e4)
    assert (best.parameters.value, best.images.value) == pytest.approx((100, 100), rel=1e-2)


def test_offsets_are_in_units_of_y_and_not_negative(sample):
    np.testing.assert_allclose(sample.offset(), [1.0, 0.0])


def test_coefficients_are_in_units_of_y_and_x(sample):
    np.testing.assert_allclose(sample.exponent(0), [0.3, 0.4])
    np.testing.assert_allclose(sample.coefficient(0), 2 * np.exp([0.1 + 0.3 * 4, 0.2 + 0.4 * 4]))


def test_the_curve_is_the_law_in_those_units(sample):
    x = np.array([1.0, 10.0, 1e3])
    curve = sample.curve(x[None])
    assert curve.shape == (2, 3)
    np.testing.assert_allclose(curve[0], 1.0 + sample.coefficient(0)[0] * x**-0.3)


def test_a_curve_with_a_negative_offset_does_not_fall_below_zero(sample):
    assert (sample.curve(np.array([[1e3, 1e9, 1e30]]))[1] > 0).all()


def test_a_band_is_the_estimate_of_every_place():
    curves = np.random.default_rng(0).random((201, 4))
    value, low, high = band(curves)
    for i in range(4):
        assert estimate(curves[:, i]) == pytest.approx((value[i], low[i], high[i]))


@pytest.mark.parametrize(("beyond", "warns"), [(1.0, False), (10.0, False), (10.1, True)])
def test_both_kinds_of_extrapolation_warn_beyond_ten(beyond, warns):
    some = estimate(np.arange(101.0))
    for one in (Prediction((1.0,), some, beyond), Optimum(1.0, some, some, some, beyond)):
        assert (one.warning is not None) == warns


def test_intervals_of_an_exponent_do_not_depend_on_the_noise_in_the_bootstrap_alone():
    """Ten times as many resamples change the ends of an interval by a small part of its width."""
    x = np.geomspace(1, 1e3, 10)
    y = (0.3 + x**-0.4) * np.exp(0.01 * np.random.default_rng(3).standard_normal(10))
    few, many = (fit_power_law(x, y, resamples=count, seed=1).exponent for count in (400, 4000))
    width = many.high - many.low
    assert abs(few.low - many.low) < 0.2 * width
    assert abs(few.high - many.high) < 0.2 * width


def test_the_estimate_is_not_one_of_the_resamples():
    """Percentiles are of the resamples alone, so the estimate itself may lie near an end."""
    values = np.array([50.0, *np.zeros(100)])
    assert estimate(values) == (50.0, 0.0, 0.0)
