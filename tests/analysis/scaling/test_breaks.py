"""The test for a break."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sslkit.analysis.scaling.breaks import SIDE, Break, _lines, aic, find_break, statistic
from sslkit.errors import SpecError
from tests.analysis.scaling import planted


def broken(noise=0.01, seed=0, points=12, after=-0.5):
    x = np.geomspace(1e5, 1e8, points)
    logs = np.log(x / 1e5)
    bend = np.log(3e6 / 1e5)
    return x, planted.noisy(2 * np.exp(-0.1 * logs + (after + 0.1) * np.maximum(logs - bend, 0)), noise, seed)


def test_a_break_is_found_where_it_is():
    found = find_break(*broken(), resamples=199)
    assert found.found
    assert found.at == pytest.approx(3e6, rel=0.25)
    assert found.before == pytest.approx(-0.1, abs=0.03)
    assert found.after == pytest.approx(-0.5, abs=0.03)
    assert found.p == pytest.approx(1 / 200)
    assert found.f > 50
    assert found.aic_broken < found.aic_smooth - 10
    lead = found.aic_smooth - found.aic_broken
    assert found.verdict == (
        f"a break near x = {found.at:.3g}: slope {found.before:.2f} before, {found.after:.2f} after "
        f"(p = 0.005, AIC {lead:+.1f})"
    )


@pytest.mark.parametrize("offset", [0.0, planted.E])
def test_no_break_is_said_in_words(offset):
    found = find_break(*planted.single(12, 0.01, seed=4, offset=offset), resamples=199)
    assert not found.found
    assert found.p > 0.05
    assert (
        found.verdict
        == f"no evidence of a break (p = {found.p:.2g}, AIC {found.aic_smooth - found.aic_broken:+.1f})"
    )


def test_a_slope_that_flattens_is_an_offset_and_no_break():
    x = np.geomspace(1e5, 1e8, 12)
    assert not find_break(x, planted.noisy(0.5 + 2e3 * x**-0.7, 0.02, 1), resamples=199).found


def test_both_conditions_are_needed():
    base = Break(1.0, -0.1, -0.5, 9.0, 0.01, aic_smooth=10.0, aic_broken=5.0)
    assert base.found
    assert not base._replace(p=0.05).found
    assert not base._replace(aic_broken=8.1).found
    assert base._replace(aic_broken=8.0).found


def test_units_do_not_matter():
    x, y = broken(noise=0.02)
    one, two = find_break(x, y, resamples=99), find_break(x * 1e-3, y * 7, resamples=99)
    assert two.p == one.p
    assert two.at == pytest.approx(one.at * 1e-3)
    np.testing.assert_allclose(
        [two.f, two.before, two.after, two.aic_smooth - two.aic_broken],
        [one.f, one.before, one.after, one.aic_smooth - one.aic_broken],
        rtol=1e-3,
    )


def test_a_seed_makes_the_same_p_again():
    x, y = planted.single(10, 0.02, seed=2)
    p = [find_break(x, y, resamples=99, seed=seed).p for seed in (0, 0, 5)]
    assert p[0] == p[1]
    assert abs(p[0] - p[2]) < 0.2


def test_exact_data_of_a_law_have_no_break():
    assert not find_break(*planted.single(10), resamples=99).found


def test_every_break_has_three_places_on_each_side():
    logs = np.log(np.geomspace(1, 1e4, 9))
    lines = _lines(np.repeat(logs, 2), "x")
    for place in lines.places:
        assert np.sum(logs <= place) >= SIDE
        assert np.sum(logs >= place) >= SIDE
    assert lines.places.min() > logs[2]
    assert lines.places.max() < logs[-3]


def test_the_statistic_is_the_f_of_the_best_line_by_least_squares():
    logs = np.linspace(0, 5, 10)
    y = np.random.default_rng(0).standard_normal((3, 10))
    lines = _lines(logs, "x")
    f, at = statistic(np.array([9.0, 10.0, 11.0]), y, lines)
    for r in range(3):
        left = [np.linalg.lstsq(design, y[r], rcond=None)[1][0] for design in lines.design]
        assert at[r] == np.argmin(left)
        assert f[r] == pytest.approx((9.0 + r - min(left)) / (min(left) / 6))


def test_aic_counts_points_and_parameters():
    assert aic(20.0, 10, 4) == pytest.approx(10 * math.log(2) + 8)
    assert aic(0.0, 10, 4) < -1000


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (
            [1, 2, 4, 8, 16, 32],
            [6, 5, 4, 3, 2, 1],
            "images: 6 different values; a test for a break needs at least 7. Add runs at other values of images",
        ),
        ([1, 2], [1, 0], "error: value 2 of 2 is 0; its logarithm is fitted, so it must be above 0"),
        ([1, 2, 3], [1, 2], "every run has one value of each, found 3 of images, 2 of error"),
    ],
)
def test_what_is_refused(x, y, message):
    with pytest.raises(SpecError) as caught:
        find_break(x, y, names=("images", "error"))
    assert str(caught.value) == message
