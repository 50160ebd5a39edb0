"""Alignment, uniformity and mean cosine against the authors' and closed forms."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from sslkit.functional import alignment_uniformity
from sslkit.functional.alignment_uniformity import (
    alignment,
    mean_cosine,
    squared_distances,
    uniformity_in_blocks,
)
from sslkit.functional.vicreg_terms import uniformity


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit(*shape, seed=0):
    return F.normalize(gaussian(*shape, seed=seed), dim=-1)


def turned(x, seed=5):
    return x @ torch.linalg.qr(gaussian(x.shape[1], x.shape[1], seed=seed)).Q


@pytest.mark.parametrize("alpha", [1, 2])
def test_alignment_is_wang_and_isolas(golden, alpha):
    """SsnL/align_uniform `align_loss`, at alpha = 2 and 1, with its gradient."""
    arrays = golden("align_uniform")
    x = arrays["x"].requires_grad_()
    value = alignment(x, arrays["y"], alpha)
    torch.testing.assert_close(value, arrays[f"align_alpha{alpha}"], rtol=0, atol=1e-10)
    if alpha == 2:
        value.backward()
        torch.testing.assert_close(x.grad, arrays["grad_align_x"], rtol=0, atol=1e-10)


def test_alignment_by_hand():
    x = unit(6, 4)
    assert alignment(x, x) == 0
    assert alignment(x, -x).item() == pytest.approx(4)
    assert alignment(x, -x, alpha=1).item() == pytest.approx(2)
    independent = alignment(unit(4000, 32), unit(4000, 32, seed=1))
    assert independent.item() == pytest.approx(2, abs=0.03)


def test_alignment_keeps_leading_dimensions_and_leaves_half_precision():
    x, y = gaussian(3, 5, 4).to(torch.bfloat16), gaussian(3, 5, 4, seed=1).to(torch.bfloat16)
    found = alignment(x, y)
    assert found.dtype == torch.float32
    torch.testing.assert_close(
        found, torch.stack([alignment(a.float(), b.float()) for a, b in zip(x, y, strict=True)])
    )


@pytest.mark.parametrize("block", [1, 7 * 32, 31 * 32, 1 << 22])
def test_uniformity_in_blocks_is_wang_and_isolas(golden, block, monkeypatch):
    """SsnL/align_uniform `uniform_loss`, whatever is held at once."""
    monkeypatch.setattr(alignment_uniformity, "BLOCK", block)
    arrays = golden("align_uniform")
    for name, t in (("x", 2), ("y", 2), ("x", 1)):
        found = uniformity_in_blocks(arrays[name], t)
        torch.testing.assert_close(found, arrays[f"uniform_{name}_t{t}"], rtol=0, atol=1e-10)


@pytest.mark.parametrize("count", [2, 3, 5, 64])
def test_every_pair_counts_once(count, monkeypatch):
    monkeypatch.setattr(alignment_uniformity, "BLOCK", 3 * count)
    x = unit(count, 3)
    torch.testing.assert_close(uniformity_in_blocks(x), uniformity(x), rtol=1e-12, atol=1e-12)


def test_uniformity_of_the_circle():
    """Points spread evenly over the circle: log I_0(4) - 4, the mean of exp(-4 + 4 cos) over the angle."""
    angle = torch.arange(3000, dtype=torch.float64) * (2 * math.pi / 3000)
    x = torch.stack([angle.cos(), angle.sin()], dim=1)
    expected = math.log(torch.special.i0(torch.tensor(4.0, dtype=torch.float64)).item()) - 4
    # the sum over pairs lacks an image's pair with itself
    corrected = math.log((3000 * math.exp(expected) - 1) / 2999)
    assert uniformity_in_blocks(x).item() == pytest.approx(corrected, abs=1e-9)


def test_uniformity_of_a_cloud_that_is_held_in_parts_is_exact_in_float32():
    x = unit(5000, 8)
    exact = (-2 * torch.pdist(x).square()).exp().mean().log()
    assert uniformity_in_blocks(x.float()).item() == pytest.approx(exact.item(), abs=2e-6)


def test_uniformity_needs_a_pair():
    with pytest.raises(ValueError, match="at least 2 rows, to make a pair; found 1"):
        uniformity_in_blocks(torch.ones(1, 4))


def test_squared_distances_are_those_of_differences_and_never_negative():
    x, y = gaussian(6, 5), gaussian(4, 5, seed=1)
    expected = (x[:, None] - y).square().sum(-1)
    torch.testing.assert_close(squared_distances(x, y), expected, rtol=1e-12, atol=1e-12)
    same = (gaussian(50, 40, seed=2) + 100).float()
    assert squared_distances(same, same).min() >= 0
    with torch.autocast("cpu", torch.bfloat16):
        assert squared_distances(same, same).dtype == torch.float32


def test_mean_cosine_is_that_of_all_pairs():
    x = unit(30, 6)
    cosines = x @ x.T
    expected = cosines[~torch.eye(30, dtype=torch.bool)].mean()
    assert mean_cosine(x).item() == pytest.approx(expected.item(), abs=1e-12)


def test_mean_cosine_at_its_ends():
    x = unit(1, 5)
    assert mean_cosine(x.expand(7, 5)).item() == pytest.approx(1)
    assert mean_cosine(torch.cat([x, -x])).item() == pytest.approx(-1)
    simplex = F.normalize(torch.eye(5, dtype=torch.float64) - 0.2, dim=1)
    assert mean_cosine(simplex).item() == pytest.approx(-1 / 4)
    assert mean_cosine(torch.eye(5)).item() == pytest.approx(0, abs=1e-12)


@given(seed=st.integers(0, 10**6), count=st.integers(2, 12), width=st.integers(1, 6))
def test_order_and_rotation_do_not_matter(seed, count, width):
    x, y = unit(count, width, seed=seed), unit(count, width, seed=seed + 1)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    for measure in (uniformity_in_blocks, mean_cosine):
        assert measure(x[order]).item() == pytest.approx(measure(x).item(), abs=1e-10)
        assert measure(turned(x)).item() == pytest.approx(measure(x).item(), abs=1e-10)
    assert alignment(x[order], y[order]).item() == pytest.approx(alignment(x, y).item(), abs=1e-10)
    assert alignment(turned(x), turned(y)).item() == pytest.approx(alignment(x, y).item(), abs=1e-10)


@given(seed=st.integers(0, 10**6), t=st.floats(0.1, 5))
def test_uniformity_lies_between_that_of_one_point_and_of_opposites(seed, t):
    found = uniformity_in_blocks(unit(9, 4, seed=seed), t).item()
    assert -4 * t - 1e-9 <= found <= 1e-9
