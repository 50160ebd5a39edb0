"""Laws of one variable and the joint law: values, units, intervals, extrapolation."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from sslkit import fit_joint, fit_power_law
from sslkit.analysis.scaling.estimates import Estimate, Support, beyond, estimate, far
from sslkit.errors import SpecError
from tests.analysis.scaling import planted


@pytest.fixture(scope="module")
def law():
    return fit_power_law(*planted.single(10, 0.01, seed=1), resamples=300)


@pytest.fixture(scope="module")
def joint():
    return fit_joint(*planted.grid(noise=0.01, seed=1), resamples=300, cost=100.0)


def test_an_exact_law_is_found_exactly():
    law = fit_power_law(*planted.single(), resamples=100)
    assert law.exponent.value == pytest.approx(planted.ALPHA, rel=1e-5)
    assert law.coefficient.value == pytest.approx(planted.A, rel=1e-4)
    assert law.offset.value == pytest.approx(planted.E, rel=1e-5)
    assert law.r2 == pytest.approx(1)
    assert law.noise < 1e-6
    assert law.exponent.high - law.exponent.low < 1e-4


def test_an_exact_joint_law_is_found_exactly():
    law = fit_joint(*planted.grid(), resamples=100)
    found = [law.alpha, law.beta, law.parameters_coefficient, law.images_coefficient, law.offset, law.split]
    truth = [planted.ALPHA, planted.BETA, planted.A, planted.B, planted.E]
    truth.append(planted.BETA / (planted.ALPHA + planted.BETA))
    np.testing.assert_allclose([each.value for each in found], truth, rtol=1e-4)


def test_estimates_lie_in_their_intervals_near_the_truth(law):
    for found, truth in ((law.exponent, planted.ALPHA), (law.offset, planted.E)):
        assert found.low <= found.value <= found.high
        assert found.low <= truth <= found.high
    assert law.exponent.high - law.exponent.low < 0.2
    assert 0.004 < law.noise < 0.025
    assert 0.99 < law.r2 < 1


def test_the_units_of_x_and_y_change_what_they_should(law):
    x, y = planted.single(10, 0.01, seed=1)
    other = fit_power_law(x * 1e3, y * 50, resamples=300)
    np.testing.assert_allclose(other.exponent, law.exponent, rtol=1e-4)
    np.testing.assert_allclose(other.offset, np.array(law.offset) * 50, rtol=1e-3)
    assert other.coefficient.value == pytest.approx(
        law.coefficient.value * 50 * 1e3**law.exponent.value, rel=1e-3
    )
    assert other.noise == pytest.approx(law.noise, rel=1e-4)


def test_the_order_of_runs_does_not_matter():
    x, y = planted.single(10, 0.01, seed=1)
    order = np.random.default_rng(0).permutation(10)
    one, two = (fit_power_law(a, b, resamples=100) for a, b in ((x, y), (x[order], y[order])))
    assert one.exponent.value == pytest.approx(two.exponent.value, rel=1e-5)


@pytest.mark.parametrize("over", ["residuals", "points"])
def test_a_seed_makes_the_same_intervals_again(over):
    x, y = planted.single(12, 0.01, seed=2)
    one, two, three = (fit_power_law(x, y, resamples=200, over=over, seed=s).exponent for s in (0, 0, 1))
    assert one == two
    assert one.value == three.value
    assert one != three
    assert one.low == pytest.approx(three.low, abs=0.05)


def test_resampling_points_gives_intervals_of_the_same_size():
    x, y = planted.single(24, 0.015, seed=4)
    widths = [
        (found := fit_power_law(x, y, resamples=400, over=over).exponent).high - found.low
        for over in ("residuals", "points")
    ]
    assert 0.5 < widths[0] / widths[1] < 2


def test_more_runs_and_less_noise_make_narrower_intervals():
    def width(points, noise):
        found = fit_power_law(*planted.single(points, noise, seed=3), resamples=200).exponent
        return found.high - found.low

    assert width(40, 0.01) < 0.7 * width(8, 0.01)
    assert width(10, 0.003) < 0.6 * width(10, 0.02)


def test_seeds_at_the_same_x_are_points_of_their_own():
    x, y = planted.single(5)
    many = fit_power_law(np.repeat(x, 4), planted.noisy(np.repeat(y, 4), 0.01, 0), resamples=200)
    assert len(many.x) == 20
    assert many.exponent.low <= planted.ALPHA <= many.exponent.high


def test_an_outlier_costs_little():
    x, y = planted.single(12, 0.005, seed=1)
    y[4] *= 1.3
    assert fit_power_law(x, y, resamples=100).exponent.value == pytest.approx(planted.ALPHA, abs=0.06)


def test_delta_can_be_that_of_hoffmann():
    x, y = planted.single(10, 0.01, seed=1)
    ours, theirs = fit_power_law(x, y, resamples=100), fit_power_law(x, y, resamples=100, delta=1e-3)
    assert theirs.exponent.value != ours.exponent.value
    assert theirs.exponent.value == pytest.approx(ours.exponent.value, abs=0.08)


def test_aic_says_whether_there_is_an_offset(law):
    assert law.support.offset
    assert law.support.law < law.support.no_offset < law.support.constant
    assert law.support.law == pytest.approx(10 - 3 + 2 * 3), "the noise is measured with the law itself"
    pure = fit_power_law(*planted.single(10, 0.01, seed=1, offset=0.0), resamples=100)
    assert not pure.support.offset
    assert pure.offset.low == 0


def test_two_is_the_least_lead():
    assert Support(10.0, 12.0, 50.0).offset
    assert not Support(10.0, 11.9, 50.0).offset


def test_laws_are_frozen(law, joint):
    with pytest.raises(dataclasses.FrozenInstanceError):
        law.r2 = 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        joint.cost = 6.0
    assert "sample" not in repr(law)


def test_predictions_follow_the_law(law):
    for x in (1e4, 1e6, 1e9):
        found = law.predict(x)
        expected = law.offset.value + law.coefficient.value * x**-law.exponent.value
        assert found.value.value == pytest.approx(expected, rel=1e-9)
        assert found.value.low <= found.value.value <= found.value.high
        assert found.at == (x,)


def test_uncertainty_grows_with_distance(law):
    widths = [(p := law.predict(x).value).high - p.low for x in (3e7, 3e8, 3e9, 3e10)]
    assert widths == sorted(widths)
    assert widths[-1] > 2 * widths[0]


@pytest.mark.parametrize(
    ("x", "factor"), [(1e5, 1), (1e6, 1), (3e7, 1), (6e7, 2), (5e4, 2), (3e8, 10), (3e9, 100)]
)
def test_how_far_beyond_the_data(law, x, factor):
    found = law.predict(x)
    assert found.beyond == pytest.approx(factor)
    assert (found.warning is None) == (factor <= 10)


def test_the_warning_names_the_factor():
    assert far(10.0) is None
    assert far(123.4) == (
        "123 times beyond the data: the interval holds only if the same law goes on, "
        "which data cannot show beyond a factor of about 10"
    )


def test_beyond_counts_both_ends():
    assert [beyond(v, [2.0, 8.0]) for v in (1.0, 2.0, 5.0, 8.0, 24.0)] == [2, 1, 1, 1, 3]


@pytest.mark.parametrize("x", [0.0, -1.0, np.inf, np.nan])
def test_a_place_is_above_zero(law, joint, x):
    with pytest.raises(SpecError, match=rf"^x: must be a finite number above 0, found {x:g}$"):
        law.predict(x)
    with pytest.raises(SpecError, match=r"^compute: must be a finite number above 0"):
        joint.optimum(x)
    with pytest.raises(SpecError, match=r"^images: must be a finite number above 0"):
        joint.predict(1e6, x)


def test_the_band_is_the_predictions(law):
    places = np.array([1e5, 1e6, 5e7])
    curve, low, high = law.band(places)
    for i, x in enumerate(places):
        np.testing.assert_allclose([curve[i], low[i], high[i]], law.predict(x).value, rtol=1e-12)


def test_an_estimate_is_the_first_with_percentiles_of_the_rest():
    found = estimate(np.array([7.0, *np.arange(1001.0)]))
    assert found == pytest.approx(Estimate(7.0, 25.0, 975.0))
    assert str(found) == "7 [25, 975]"


def test_joint_predictions_follow_the_law(joint):
    found = joint.predict(1e6, 1e7)
    expected = joint.offset.value + joint.parameters_coefficient.value * 1e6**-joint.alpha.value
    expected += joint.images_coefficient.value * 1e7**-joint.beta.value
    assert found.value.value == pytest.approx(expected, rel=1e-9)
    assert (found.at, found.beyond) == ((1e6, 1e7), 1)
    assert joint.predict(3e8, 1e7).beyond == pytest.approx(10)
    assert joint.predict(1e6, 6e9).beyond == pytest.approx(100)


@pytest.mark.parametrize("compute", [1e14, 1e16, 1e19])
def test_the_optimum_is_the_best_of_all_sizes(joint, compute):
    """Against a numeric search along C = k N D."""
    best = joint.optimum(compute)

    def loss(log_size):
        size = np.exp(log_size)
        return joint.predict(size, compute / 100.0 / size).value.value

    searched = minimize_scalar(
        loss, bounds=(np.log(1e3), np.log(1e13)), method="bounded", options={"xatol": 1e-8}
    )
    assert best.parameters.value == pytest.approx(np.exp(searched.x), rel=1e-3)
    assert best.value.value == pytest.approx(searched.fun, rel=1e-9)
    assert best.parameters.value * best.images.value * 100 == pytest.approx(compute)
    for found in (best.parameters, best.images, best.value):
        assert found.low < found.value < found.high


def test_the_optimum_grows_by_the_split(joint):
    one, two = joint.optimum(1e15), joint.optimum(1e17)
    assert np.log(two.parameters.value / one.parameters.value) / np.log(100) == pytest.approx(
        joint.split.value
    )
    assert joint.split.value == pytest.approx(joint.beta.value / (joint.alpha.value + joint.beta.value))
    assert joint.split.low < joint.split.value < joint.split.high


def test_an_optimum_knows_how_far_it_is(joint):
    most = 100.0 * 3e7 * 6e7
    assert joint.optimum(most).beyond == pytest.approx(1)
    assert joint.optimum(most * 10).warning is None
    assert joint.optimum(most * 20).beyond == pytest.approx(20)
    assert joint.optimum(most * 20).warning == far(20.0)


def test_cost_moves_the_optimum_and_not_the_law(joint):
    cheap = fit_joint(*planted.grid(noise=0.01, seed=1), resamples=300, cost=1.0)
    assert cheap.alpha == joint.alpha
    assert cheap.optimum(1e14).parameters == pytest.approx(joint.optimum(1e16).parameters)


def test_parameters_and_images_are_alike(joint):
    n, d, y = planted.grid(noise=0.01, seed=1)
    swapped = fit_joint(d, n, y, resamples=100)
    assert swapped.alpha.value == pytest.approx(joint.beta.value, rel=1e-3)
    assert swapped.parameters_coefficient.value == pytest.approx(joint.images_coefficient.value, rel=1e-2)
    assert swapped.split.value == pytest.approx(1 - joint.split.value, rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"delta": 0.0}, "delta: must be above 0, found 0"),
        ({"delta": -1.0}, "delta: must be above 0, found -1"),
        ({"resamples": 99}, "resamples: 95 % intervals need at least 100, found 99"),
        ({"over": "runs"}, "over: must be one of residuals, points, found 'runs'"),
    ],
)
def test_wrong_settings_are_refused(changes, message):
    for fit, data in ((fit_power_law, planted.single(8, 0.01)), (fit_joint, planted.grid(noise=0.01))):
        with pytest.raises(SpecError) as caught:
            fit(*data, **changes)
        assert str(caught.value) == message
