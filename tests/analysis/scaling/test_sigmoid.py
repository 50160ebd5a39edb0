"""Sigmoids in log x."""

from __future__ import annotations

import numpy as np
import pytest

from sslkit.analysis.scaling.estimates import Estimate
from sslkit.analysis.scaling.sigmoid import CAUTION, Sigmoid, fit_sigmoid
from sslkit.errors import SpecError

X = np.geomspace(1e5, 1e8, 12)


def rise(low=0.1, high=0.8, midpoint=3e6, steepness=2.0, noise=0.01, seed=0, x=X):
    y = low + (high - low) / (1 + (x / midpoint) ** -steepness)
    return y + noise * np.random.default_rng(seed).standard_normal(len(x))


def test_a_sigmoid_is_recovered():
    found = fit_sigmoid(X, rise(noise=0.0))
    np.testing.assert_allclose([found.low, found.high, found.steepness], [0.1, 0.8, 2.0], rtol=1e-4)
    assert found.midpoint.value == pytest.approx(3e6, rel=1e-4)
    assert found.width == pytest.approx(9.0, rel=1e-3)
    assert found.found


def test_the_width_is_from_ten_to_ninety_per_cent():
    fit = fit_sigmoid(X, rise(noise=0.0))
    middle, half = fit.midpoint.value, np.sqrt(fit.width)
    share = (rise(noise=0.0, x=np.array([middle / half, middle * half])) - 0.1) / 0.7
    np.testing.assert_allclose(share, [0.1, 0.9], atol=1e-3)


def test_the_verdict_has_the_interval_and_the_caution():
    found = fit_sigmoid(X, rise())
    assert found.midpoint.low < found.midpoint.value < found.midpoint.high
    assert found.midpoint.value == pytest.approx(3e6, rel=0.05)
    assert found.midpoint.high / found.midpoint.low < 1.5
    assert found.verdict == (
        f"a sigmoid from {found.low:.3g} to {found.high:.3g}, half way at x = {found.midpoint}, "
        f"10 % to 90 % within a factor of {found.width:.3g} (AIC {found.lead:+.1f}); {CAUTION}"
    )
    assert "Schaeffer et al. 2023" in found.verdict


def test_a_fall_is_a_sigmoid_too():
    found = fit_sigmoid(X, 1 - rise())
    assert found.found
    assert found.low > found.high
    assert found.midpoint.value == pytest.approx(3e6, rel=0.1)


def test_units_of_y_may_be_any():
    one, two = fit_sigmoid(X, rise()), fit_sigmoid(X, 100 * rise() - 300)
    assert two.midpoint.value == pytest.approx(one.midpoint.value, rel=1e-3)
    assert two.low == pytest.approx(100 * one.low - 300, abs=0.05)
    assert two.lead == pytest.approx(one.lead, abs=0.05)


@pytest.mark.parametrize(
    "smooth",
    [
        0.1 * np.log(X / 1e4),
        0.9 - 3 * X**-0.15,
        0.3 + 20 * X**-0.3,
        np.full(12, 0.5),
    ],
    ids=["line", "saturating", "power law", "constant"],
)
def test_smooth_curves_are_no_sigmoids(smooth):
    y = smooth + 0.01 * np.random.default_rng(5).standard_normal(12)
    found = fit_sigmoid(X, y)
    assert not found.found
    assert found.verdict.startswith("no evidence of a sigmoid: ")


def test_why_there_is_none():
    base = Sigmoid(
        0.1, 0.8, Estimate(1.0, 0.5, 2.0), 2.0, inside=True, aic=0.0, aic_smooth=2.0, aic_constant=9.0
    )
    assert base.found
    assert base._replace(aic_smooth=1.9).verdict == (
        "no evidence of a sigmoid: a curve without a bend fits as well (AIC +1.9)"
    )
    assert not base._replace(aic_constant=1.0).found
    assert (
        base._replace(inside=False).verdict == "no evidence of a sigmoid: its midpoint is not inside the data"
    )


def test_half_a_sigmoid_is_none():
    """Only the lower half was seen: the midpoint is a guess."""
    assert not fit_sigmoid(X, rise(midpoint=3e8, noise=0.002)).found


def test_a_seed_makes_the_same_interval_again():
    one, two, three = (fit_sigmoid(X, rise(), seed=seed).midpoint for seed in (0, 0, 1))
    assert one == two
    assert one != three


def test_a_step_stays_finite():
    found = fit_sigmoid(X, np.where(X > 3e6, 0.9, 0.1))
    assert np.isfinite([found.low, found.high, found.steepness, *found.midpoint]).all()
    below, above = X[X <= 3e6].max(), X[X > 3e6].min()
    assert below * 0.99 <= found.midpoint.value <= above * 1.01


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (
            [1, 2, 3, 4, 5],
            [1, 2, 3, 4, 5],
            "flops: 5 different values; a sigmoid has four parameters and needs at least 6. "
            "Add runs at other values of flops",
        ),
        ([1, -2], [1, 2], "flops: value 2 of 2 is -2; its logarithm is fitted, so it must be above 0"),
        ([1, 2], [1, np.nan], "accuracy: value 2 of 2 is nan; only finite numbers can be fitted"),
        ([1, 2, 3], [1, 2], "every run has one value of each, found 3 of flops, 2 of accuracy"),
    ],
)
def test_what_is_refused(x, y, message):
    with pytest.raises(SpecError) as caught:
        fit_sigmoid(x, y, names=("flops", "accuracy"))
    assert str(caught.value) == message


def test_zero_and_negative_metrics_are_fine():
    assert fit_sigmoid(X, rise(low=-0.5, high=0.0)).found
