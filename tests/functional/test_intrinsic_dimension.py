"""Intrinsic dimension of made data whose dimension is known, and against scikit-dimension."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from sslkit.functional import intrinsic_dimension
from sslkit.functional.intrinsic_dimension import likelihood_dimension, neighbor_distances, two_nn


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniform(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def embedded(x, width, seed=9):
    """`x` turned into a space of more dimensions."""
    return x @ torch.linalg.qr(gaussian(width, x.shape[1], seed=seed)).Q.T


def by_hand(x, k):
    return torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").sort(1).values[:, 1 : k + 1]


@pytest.mark.parametrize("block", [1, 500, 1 << 22])
@pytest.mark.parametrize("k", [1, 2, 39])
def test_distances_are_those_of_all_pairs(k, block, monkeypatch):
    monkeypatch.setattr(intrinsic_dimension, "BLOCK", block)
    x = gaussian(40, 6) + 50
    found = neighbor_distances(x, k)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, by_hand(x, k), rtol=1e-10, atol=0)


def test_copies_are_at_exactly_zero_and_tiny_distances_are_kept():
    x = gaussian(20, 64).float() + 10
    x[7] = x[3]
    x[11] = x[4]
    x[11, 0] += 1e-5
    found = neighbor_distances(x, 1)[:, 0]
    assert (found == 0).nonzero().flatten().tolist() == [3, 7]
    gap = (x[11, 0].double() - x[4, 0].double()).abs().item()
    assert found[4].item() == found[11].item() == pytest.approx(gap, rel=1e-9)


@pytest.mark.parametrize("k", [0, 5, -1])
def test_neighbors_that_do_not_exist_are_an_error(k):
    with pytest.raises(ValueError, match=rf"`k` must be in 1 \.\. 4, the other rows.*found {k}"):
        neighbor_distances(torch.randn(5, 3), k)


@pytest.mark.parametrize("k", [1, 2, 5, 10])
def test_uniform_cubes_in_many_dimensions(k):
    """Edges of the cube bias both downwards, the more the higher the dimension."""
    distances = neighbor_distances(embedded(uniform(2500, k), 32), 20)
    allowed = 0.05 + 0.02 * k
    assert two_nn(distances).item() == pytest.approx(k, rel=allowed)
    assert likelihood_dimension(distances).item() == pytest.approx(k, rel=allowed)


@pytest.mark.parametrize("k", [2, 5])
def test_gaussians_in_many_dimensions(k):
    distances = neighbor_distances(embedded(gaussian(2500, k), 48), 10)
    assert two_nn(distances).item() == pytest.approx(k, rel=0.08)
    assert likelihood_dimension(distances).item() == pytest.approx(k, rel=0.08)


@pytest.mark.parametrize("k", [1, 3])
def test_a_sphere_has_one_dimension_less_than_its_space(k):
    """It has no edges: both are within three standard errors, d / sqrt(N) and less."""
    count = 2500
    x = embedded(F.normalize(gaussian(count, k + 1, seed=4), dim=1), 16)
    distances = neighbor_distances(x, 10)
    assert two_nn(distances).item() == pytest.approx(k, abs=3 * k / math.sqrt(0.9 * count))
    assert likelihood_dimension(distances).item() == pytest.approx(k, abs=0.06 * k)


def test_a_curved_surface_has_two_dimensions():
    """A Swiss roll."""
    angle, height = 1.5 * math.pi * (1 + 2 * uniform(2500)), 21 * uniform(2500, seed=1)
    x = torch.stack([angle * angle.cos(), height, angle * angle.sin()], dim=1)
    assert two_nn(neighbor_distances(x, 2)).item() == pytest.approx(2, rel=0.06)
    assert likelihood_dimension(neighbor_distances(x, 10)).item() == pytest.approx(2, rel=0.06)


@pytest.mark.parametrize("d", [1.0, 4.0, 17.5])
def test_both_recover_the_law_that_they_assume(d):
    """Ratios drawn from P(ratio < m) = 1 - m^-d, and T_j^d uniform below T_k^d."""
    count, k = 20000, 10
    pairs = torch.stack([torch.ones(count, dtype=torch.float64), uniform(count) ** (-1 / d)], dim=1)
    assert two_nn(pairs).item() == pytest.approx(d, rel=0.03)
    inside = (uniform(count, k - 1, seed=1) ** (1 / d)).sort(1).values
    distances = torch.cat([inside, torch.ones(count, 1, dtype=torch.float64)], dim=1)
    assert likelihood_dimension(distances).item() == pytest.approx(d, rel=0.01)


def test_two_nn_fits_exact_quantiles_exactly():
    """Where -log(1 - F) = d log ratio for every image, the slope is d."""
    below = torch.arange(1, 51, dtype=torch.float64) / 50
    ratio = torch.where(below < 1, (1 - below) ** (-1 / 3.0), 1e9)
    pairs = torch.stack([torch.full_like(ratio, 0.25), 0.25 * ratio], dim=1)
    for discard in (0.02, 0.1, 0.5):
        assert two_nn(pairs, discard).item() == pytest.approx(3, rel=1e-12)


def test_likelihood_by_hand():
    """One image, T = 1, 2, 4: 2 / (log 4 + log 2)."""
    one = torch.tensor([[1.0, 2, 4]], dtype=torch.float64)
    assert likelihood_dimension(one).item() == pytest.approx(2 / math.log(8))
    two = torch.tensor([[1.0, 2, 4], [1, 1, 1 * math.e]], dtype=torch.float64)
    assert likelihood_dimension(two).item() == pytest.approx(1 / ((math.log(8) / 2 + 1) / 2))


@pytest.mark.parametrize(("count", "width", "seed"), [(300, 5, 0), (300, 60, 1), (77, 12, 2)])
def test_they_agree_with_scikit_dimension(count, width, seed):
    skdim = pytest.importorskip("skdim.id", reason="scikit-dimension is not installed")
    x = gaussian(count, width, seed=seed)
    distances = neighbor_distances(x, 20)
    assert two_nn(distances).item() == pytest.approx(skdim.TwoNN().fit(x.numpy()).dimension_, rel=1e-6)
    found = skdim.MLE().fit(x.numpy(), n_neighbors=20).dimension_
    assert likelihood_dimension(distances).item() == pytest.approx(found, rel=1e-9)
    half = skdim.TwoNN(discard_fraction=0.5).fit(x.numpy()).dimension_
    assert two_nn(distances, 0.5).item() == pytest.approx(half, rel=1e-6)


def planted():
    """A point set that needs no generator: 120 points in 4 dimensions from the fractions of square roots."""
    roots = torch.tensor([2, 3, 5, 7], dtype=torch.float64).sqrt()
    return torch.arange(1, 121, dtype=torch.float64)[:, None] * roots % 1


def test_they_agree_with_stored_numbers_of_scikit_dimension():
    """What scikit-dimension 0.5 gave for `planted`, for where it is not installed."""
    distances = neighbor_distances(planted(), 20)
    assert two_nn(distances).item() == pytest.approx(1.6580361820156246, rel=1e-9)
    assert likelihood_dimension(distances).item() == pytest.approx(3.4196401371901355, rel=1e-9)


def test_copies_are_left_out_and_a_collapsed_set_has_dimension_zero():
    x = gaussian(200, 3)
    doubled = torch.cat([x, x[:20]])
    distances = neighbor_distances(doubled, 5)
    single = (distances[:, 0] > 0).nonzero().flatten()
    assert len(single) == 180
    assert two_nn(distances).item() == two_nn(distances[single]).item()
    assert likelihood_dimension(distances).item() == likelihood_dimension(distances[single]).item()
    point = neighbor_distances(torch.ones(30, 3), 5)
    assert two_nn(point) == 0
    assert likelihood_dimension(point) == 0


@given(seed=st.integers(0, 10**6), scale=st.floats(1e-5, 1e5), shift=st.floats(-10, 10))
def test_order_rotation_shift_and_scale_do_not_matter(seed, scale, shift):
    x = gaussian(30, 4, seed=seed)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(seed))
    for measure in (two_nn, likelihood_dimension):
        expected = measure(neighbor_distances(x, 6)).item()
        for other in (x[order], embedded(x, 4), embedded(x, 9), x + shift, scale * x):
            assert measure(neighbor_distances(other, 6)).item() == pytest.approx(expected, rel=1e-6)
