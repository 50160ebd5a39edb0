"""Data that cannot support a law are refused, each with its reason, word for word."""

from __future__ import annotations

import numpy as np
import pytest

from sslkit.analysis.scaling import data_checks
from sslkit.analysis.scaling.estimates import Support
from sslkit.analysis.scaling.fit import fit_joint, fit_power_law
from sslkit.errors import SpecError
from tests.analysis.scaling import planted

NAMES = ("parameters", "loss")


def message(fit, *data, **changes):
    """What the fit says instead of fitting."""
    with pytest.raises(SpecError) as caught:
        fit(*data, resamples=200, **changes)
    return str(caught.value)


def single(x, y, **changes):
    return message(fit_power_law, x, y, names=NAMES, **changes)


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (
            [1, 10, 0, 100],
            [4, 3, 2, 1],
            "parameters: value 3 of 4 is 0; its logarithm is fitted, so it must be above 0",
        ),
        (
            [1, 10, 50, 100],
            [4, -3, 2, 1],
            "loss: value 2 of 4 is -3; its logarithm is fitted, so it must be above 0",
        ),
        (
            [1, 10, 50, np.inf],
            [4, 3, 2, 1],
            "parameters: value 4 of 4 is inf; only finite numbers can be fitted",
        ),
        ([1, 10, 50, 100], [np.nan, 3, 2, 1], "loss: value 1 of 4 is nan; only finite numbers can be fitted"),
        ([[1, 10]], [4, 3], "parameters: must be a list of numbers, found shape [1, 2]"),
        ([1, 10, 50], [4, 3], "every run has one value of each, found 3 of parameters, 2 of loss"),
        (
            [1, 10, 100],
            [4, 3, 2],
            "parameters: 3 different values; a power law with an offset has three parameters and needs at least 4. "
            "Add runs at other values of parameters",
        ),
        (
            [10] * 6,
            [4, 3, 2, 1, 2, 3],
            "parameters: 1 different value; a power law with an offset has three parameters and needs at least 4. "
            "Add runs at other values of parameters",
        ),
        (
            [10, 15, 20, 30, 39],
            [5, 4, 3, 2, 1],
            "parameters: spans a factor of 3.9 (10 to 39); an exponent needs at least a factor of 4. "
            "Add runs at smaller or larger parameters",
        ),
    ],
)
def test_values_and_ranges(x, y, expected):
    assert single(x, y) == expected


def test_a_factor_of_four_and_four_values_are_enough():
    x = np.array([10.0, 16.0, 25.0, 40.0])
    law = fit_power_law(x, 0.3 + x**-0.5, resamples=100)
    assert law.exponent.value == pytest.approx(0.5, abs=1e-3)


def test_noise_around_a_constant():
    x = np.geomspace(1e5, 1e7, 8)
    said = single(x, planted.noisy(np.full(8, 2.0), 0.02, seed=1))
    start = "loss does not fall with parameters: a constant fits as well (AIC of the constant minus AIC of the law is "
    end = (
        "; at least 2 would be evidence). If higher is better, use --as error; "
        "otherwise add runs over a wider range, or seeds"
    )
    assert said.startswith(start)
    assert said.endswith(end)
    assert float(said.removeprefix(start).removesuffix(end)) < 2


def test_a_metric_that_rises():
    x = np.geomspace(1e5, 1e7, 8)
    assert single(x, planted.noisy(x**0.2, 0.01, 0)).startswith("loss does not fall with parameters: ")


def test_flat_words():
    with pytest.raises(SpecError) as caught:
        data_checks.flat(Support(10.0, 9.0, 10.5), "images", "error")
    assert str(caught.value) == (
        "error does not fall with images: a constant fits as well (AIC of the constant minus AIC of the law is 1.5; "
        "at least 2 would be evidence). If higher is better, use --as error; otherwise add runs over a wider range, "
        "or seeds"
    )
    data_checks.flat(Support(10.0, 9.0, 11.0), "images", "error")


def test_a_step_has_no_exponent():
    """All runs but the smallest are alike: any steep law fits."""
    x = np.geomspace(1e5, 1e7, 8)
    y = planted.noisy(np.where(x < 1.5e5, 2.0, 1.0), 0.01, seed=0)
    said = single(x, y)
    assert said.startswith("degenerate bootstrap: in ")
    assert said.endswith(
        " of the resamples the exponent of parameters runs to 4, so the data do not bound it. "
        "Add runs or seeds, or a wider range of parameters"
    )


@pytest.mark.parametrize(("value", "bound"), [(0.0, "0"), (4.0, "4")])
def test_degenerate_words(value, bound):
    theta = np.tile([0.1, -1.0, 0.3], (101, 1))
    theta[1:3, 2] = value
    data_checks.degenerate(theta, ["images"])  # 2 % lie outside of a 95 % interval
    theta[1:4, 2] = value
    with pytest.raises(SpecError) as caught:
        data_checks.degenerate(theta, ["images"])
    assert str(caught.value) == (
        f"degenerate bootstrap: in 3% of the resamples the exponent of images runs to {bound}, so the data do not "
        "bound it. Add runs or seeds, or a wider range of images"
    )


def test_degenerate_looks_at_both_variables():
    theta = np.tile([0.1, -1.0, 0.3, -1.0, 0.0], (101, 1))
    with pytest.raises(SpecError, match="100% of the resamples the exponent of images runs to 0"):
        data_checks.degenerate(theta, ["parameters", "images"])


def test_draws_of_points_need_enough_points():
    """Of six drawn from six, five are different in one draw of four; one of three would do."""
    n = np.array([1e5, 1e6, 1e7, 1e5, 1e6, 1e7])
    d = np.array([1e6, 3e7, 1e6, 6e8, 3e7, 6e8])
    d[4] = 2e6
    y = planted.E + planted.A * n**-planted.ALPHA + planted.B * d**-planted.BETA
    said = message(fit_joint, n, d, y, over="points")
    assert said.startswith("degenerate bootstrap: 7")
    assert said.endswith(
        "% of the draws from 6 points have fewer than 5 different ones. Add points, or resample residuals"
    )


@pytest.mark.parametrize(
    ("n", "d", "y", "expected"),
    [
        (
            [1, 2, 3, 4, 5],
            [1, 2, 3, 4, 5],
            [5, 4, 3, 2, 1],
            "5 runs: the joint law has five parameters and needs at least 6. Add runs",
        ),
        (
            [1, 10, 1, 10, 1, 10],
            [1, 1, 10, 10, 90, 90],
            [6, 5, 4, 3, 2, 1],
            "parameters: 2 different values; the joint law needs at least 3 of each variable. "
            "Add runs, or fit a law of one variable without --joint",
        ),
        (
            [1, 10, 90, 1, 10, 90],
            [7] * 6,
            [6, 5, 4, 6, 5, 4],
            "images: 1 different value; the joint law needs at least 3 of each variable. "
            "Add runs, or fit a law of one variable without --joint",
        ),
        (
            [1, 10, 90, 1, 10, 90],
            [10, 10, 20, 20, 30, 30],
            [6, 5, 4, 6, 5, 4],
            "images: spans a factor of 3 (10 to 30); an exponent needs at least a factor of 4. "
            "Add runs at smaller or larger images",
        ),
        (
            [1, 10, 100, 1000, 1e4, 1e5],
            [20, 200, 2000, 2e4, 2e5, 2e6],
            [6, 5, 4, 3, 2, 1],
            "parameters and images move together (correlation of their logs 1.000), so their effects cannot be told "
            "apart. Add runs that change one while the other stays",
        ),
        ([1, 2], [1], [1, 2], "every run has one value of each, found 2 of parameters, 1 of images, 2 of y"),
        ([1, 2], [0, 1], [1, 2], "images: value 1 of 2 is 0; its logarithm is fitted, so it must be above 0"),
    ],
)
def test_joint_values_and_ranges(n, d, y, expected):
    assert message(fit_joint, n, d, y) == expected


@pytest.mark.parametrize(("idle", "other"), [("parameters", "images"), ("images", "parameters")])
def test_a_variable_that_does_nothing(idle, other):
    n, d, _ = planted.grid()
    columns = {"parameters": n, "images": d}
    start = (
        f"y shows no effect of {idle}: a law without it fits as well (AIC without it minus AIC with it is "
    )
    end = "; at least 2 would be evidence). Fit the other variable alone, or add runs over a wider range"
    refused = []
    for seed in range(1, 13):
        y = planted.noisy(0.4 + 20 * columns[other] ** -0.3, 0.01, seed)
        try:
            fit_joint(n, d, y, resamples=100)
        except SpecError as error:
            refused.append(str(error))
    words = [text for text in refused if text.startswith(start)]
    assert len(words) >= 8, "AIC errs now and then"
    assert all(text.endswith(end) and float(text[len(start) : -len(end)]) < 2 for text in words)


def test_joint_noise_around_a_constant():
    n, d, _ = planted.grid()
    said = message(fit_joint, n, d, planted.noisy(np.full(len(n), 2.0), 0.02, seed=0))
    assert said.startswith("y does not fall with parameters and images: a constant fits as well")


def test_iso_flop_runs_are_enough():
    """Runs along three budgets, as in approach 2 of Hoffmann et al.: never the same images twice."""
    budgets = np.repeat([1e11, 1e12, 1e13], 4)
    n = np.tile([0.25, 0.7, 2.0, 5.0], 3) * np.sqrt(budgets)
    d = budgets / n
    y = planted.noisy(planted.E + planted.A * n**-planted.ALPHA + planted.B * d**-planted.BETA, 0.003, 0)
    law = fit_joint(n, d, y, resamples=200)
    assert law.alpha.low <= planted.ALPHA <= law.alpha.high
