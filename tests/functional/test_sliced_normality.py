"""SIGReg against the authors' package, lightly's and VISReg's, whose numbers are one."""

from __future__ import annotations

import math

import pytest
import torch

from sslkit.functional.sliced_normality import epps_pulley, sigreg

TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-5}
"""The authors keep frequencies and weights in float32, whatever the features are."""


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_statistic_and_gradient_are_the_authors(dtype, golden):
    """Golden sigreg_lejepa: `univariate/epps_pulley.py` in `multivariate/slicing.py`."""
    arrays, limit = golden("sigreg_lejepa"), TOLERANCE[dtype]
    x = arrays["proj"].to(dtype).requires_grad_()
    directions = arrays["directions"].to(dtype)
    each = epps_pulley(x @ directions)
    torch.testing.assert_close(each, arrays["statistic_each"].to(dtype), rtol=0, atol=10 * limit)
    value = sigreg(x, arrays["directions_raw"].to(dtype)).mean()
    for name in ("statistic", "statistic_author", "statistic_lightly", "statistic_visreg_repo"):
        assert value.item() == pytest.approx(float(arrays[name]), abs=limit)
    value.backward()
    torch.testing.assert_close(x.grad, arrays["grad_proj"].to(dtype), rtol=0, atol=limit)


def test_other_frequencies(golden):
    arrays = golden("sigreg_lejepa")
    value = sigreg(arrays["proj"], arrays["directions_raw"], 21, 5.0).mean()
    assert value.item() == pytest.approx(float(arrays["statistic_t5_n21"]), abs=1e-7)


@pytest.mark.parametrize("count", [20, 500])
def test_normal_features_have_the_same_value_whatever_their_number(count):
    """E of N |phi_N - phi|^2 is 1 - phi^2, and its integral sqrt(2 pi) - sqrt(2 pi / 3) = 1.06."""
    x = normal(200, count, 6)
    expected = math.sqrt(2 * math.pi) - math.sqrt(2 * math.pi / 3)
    assert sigreg(x, normal(6, 16, seed=1)).mean().item() == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(
    "change", [lambda x: x * 0, lambda x: x * 3, lambda x: x / 3, lambda x: x + 1, lambda x: x.sign()]
)
def test_features_that_are_not_normal_cost_more(change):
    x, directions = normal(300, 4), normal(4, 32, seed=1)
    assert sigreg(change(x), directions) > 4 * sigreg(x, directions)


def test_directions_count_by_where_they_point_alone():
    x, directions = normal(2, 9, 5), normal(5, 7, seed=1)
    scaled = directions * torch.arange(1, 8)
    torch.testing.assert_close(sigreg(x, scaled), sigreg(x, directions))


def test_leading_dimensions_and_order_of_images():
    x, directions = normal(2, 3, 9, 5), normal(5, 7, seed=1)
    each = torch.stack([torch.stack([sigreg(crop, directions) for crop in row]) for row in x])
    torch.testing.assert_close(sigreg(x, directions), each, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(sigreg(x[0, 0].flip(0), directions), each[0, 0], rtol=1e-12, atol=1e-14)


def test_gradients_are_right_and_finite_also_at_collapse():
    directions = normal(3, 4, seed=1)
    assert torch.autograd.gradcheck(lambda x: sigreg(x, directions), normal(5, 3).requires_grad_())
    same = torch.full((6, 3), 0.5, dtype=torch.float64, requires_grad=True)
    sigreg(same, directions).backward()
    assert same.grad.isfinite().all()
    assert same.grad.abs().sum() > 0, "which leads away from it"


def test_half_precision_and_autocast_are_left():
    x, directions = normal(33, 5), normal(5, 7, seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        value = sigreg(x.bfloat16(), directions.float())
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, sigreg(x.bfloat16().double(), directions).float(), rtol=1e-4, atol=1e-5)
