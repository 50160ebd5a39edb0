"""Variance, covariance and uniformity against the reference implementations."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sslkit.functional.vicreg_terms import covariance, uniformity, variance

TERMS = [variance, covariance, uniformity]


def features(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def test_variance_and_covariance_are_vicregs(golden):
    """facebookresearch/vicreg `main_vicreg.py`: the parts of its loss, its value and its gradient."""
    arrays = golden("vicreg_loss")
    z1, z2 = arrays["z1"].requires_grad_(), arrays["z2"]
    spread = (variance(z1) + variance(z2)) / 2
    crossed = covariance(z1) + covariance(z2)
    invariance = F.mse_loss(z1, z2)
    torch.testing.assert_close(
        torch.stack([invariance, spread, crossed]), arrays["parts"], rtol=0, atol=1e-10
    )
    loss = 25 * invariance + 25 * spread + crossed
    torch.testing.assert_close(loss, arrays["loss"], rtol=0, atol=1e-10)
    loss.backward()
    torch.testing.assert_close(z1.grad, arrays["grad_z1"], rtol=0, atol=1e-10)


def test_uniformity_is_wang_and_isolas(golden):
    """SsnL/align_uniform `uniform_loss`, at t = 2 and 1, with its gradient."""
    arrays = golden("align_uniform")
    x = arrays["x"].requires_grad_()
    value = uniformity(x)
    torch.testing.assert_close(value, arrays["uniform_x_t2"], rtol=0, atol=1e-10)
    torch.testing.assert_close(uniformity(arrays["y"]), arrays["uniform_y_t2"], rtol=0, atol=1e-10)
    torch.testing.assert_close(uniformity(x, t=1.0), arrays["uniform_x_t1"], rtol=0, atol=1e-10)
    value.backward()
    torch.testing.assert_close(x.grad, arrays["grad_uniform_x"], rtol=0, atol=1e-10)


def test_variance_is_zero_past_gamma_and_gamma_less_a_hundredth_at_collapse():
    x = features(64, 8)
    wide = 3 * (x - x.mean(0)) / x.std(0)
    assert variance(wide) == 0
    assert variance(wide, gamma=4.0) == pytest.approx(4 - (9 + 1e-4) ** 0.5)
    assert variance(torch.ones(5, 8, dtype=torch.float64)) == pytest.approx(1 - 1e-4**0.5)


def test_covariance_of_independent_and_of_equal_dimensions():
    hadamard = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)
    assert covariance(hadamard).abs() < 1e-15
    column = features(9, 1)
    expected = 4 * 3 * column.var() ** 2 / 4
    assert covariance(column.expand(9, 4)) == pytest.approx(expected.item())


def test_uniformity_of_one_point_of_opposites_and_of_a_cloud():
    point = F.normalize(features(1, 4), dim=-1)
    assert uniformity(point.expand(6, 4)).abs() < 1e-12
    assert uniformity(torch.cat([point, -point])) == pytest.approx(-8)
    cloud = F.normalize(features(200, 16), dim=-1)
    assert -4 < uniformity(cloud) < -3.5


@pytest.mark.parametrize("term", TERMS)
def test_leading_dimensions_are_batches_of_their_own(term):
    x = features(2, 3, 7, 5)
    expected = torch.stack([torch.stack([term(x[i, j]) for j in range(3)]) for i in range(2)])
    torch.testing.assert_close(term(x), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("term", TERMS)
def test_order_of_the_images_does_not_matter(term):
    x = features(9, 6)
    torch.testing.assert_close(term(x), term(x[torch.arange(9).flip(0)]), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("term", TERMS)
def test_gradients_are_right_and_finite_also_at_collapse(term):
    assert torch.autograd.gradcheck(term, features(5, 3).requires_grad_())
    same = torch.full((6, 4), 0.5, dtype=torch.float64, requires_grad=True)
    term(same).backward()
    assert same.grad.isfinite().all()


@pytest.mark.parametrize("term", TERMS)
def test_half_precision_and_autocast_are_left(term):
    x = features(33, 17, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        found = term(x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, term(x.double()).float(), rtol=1e-5, atol=1e-6)
