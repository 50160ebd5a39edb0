"""Numbers of a spectrum against closed forms and the papers' own steps."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sslkit.functional.singular_values import (
    RANKME_EPS,
    effective_rank,
    isoscore,
    participation_ratio,
    rankme,
    singular_values,
)

RANKS = [effective_rank, rankme, participation_ratio]


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def orthogonal(size, seed=1):
    return torch.linalg.qr(gaussian(size, size, seed=seed)).Q


def with_spectrum(values, count, width, seed=0):
    """A matrix `[count, width]` of these singular values."""
    left = torch.linalg.qr(gaussian(count, len(values), seed=seed)).Q
    right = torch.linalg.qr(gaussian(width, len(values), seed=seed + 1)).Q
    return left * torch.tensor(values, dtype=torch.float64) @ right.T


@pytest.mark.parametrize(("count", "width"), [(40, 7), (7, 40), (9, 9)])
def test_singular_values_are_those_of_the_matrix(count, width):
    x = gaussian(count, width) + 3
    torch.testing.assert_close(singular_values(x), torch.linalg.svdvals(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        singular_values(x, centerd=True), torch.linalg.svdvals(x - x.mean(0)), rtol=1e-10, atol=1e-12
    )


def test_small_singular_values_are_not_lost():
    """A Gram matrix would square them, and 1e-9 would drown in the noise of 1."""
    planted = [1.0, 1e-3, 1e-6, 1e-9]
    found = singular_values(with_spectrum(planted, 50, 20))
    assert found[:4].tolist() == pytest.approx(planted, rel=1e-5)
    assert found[4:].max() < 1e-14


def test_they_are_float64_without_gradient_of_half_precision_too():
    x = gaussian(8, 4).to(torch.bfloat16).requires_grad_()
    found = singular_values(x)
    assert found.dtype == torch.float64
    assert not found.requires_grad
    torch.testing.assert_close(found, torch.linalg.svdvals(x.detach().double()))


def test_centring_takes_a_common_offset_away():
    x = gaussian(60, 5)
    offset = x + 100
    assert rankme(singular_values(offset)) < 1.5
    centerd = effective_rank(singular_values(offset, centerd=True))
    assert centerd == pytest.approx(effective_rank(singular_values(x, centerd=True)).item(), rel=1e-9)


@pytest.mark.parametrize("rank", [1, 3, 8])
@pytest.mark.parametrize("measure", RANKS)
def test_equal_directions_are_counted(measure, rank):
    values = singular_values(with_spectrum([2.5] * rank, 30, 12))
    assert measure(values).item() == pytest.approx(rank, rel=1e-4)


def test_effective_rank_by_hand():
    """Shares 1/2, 1/4, 1/4: the entropy is 1.5 log 2."""
    assert effective_rank(torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64)).item() == pytest.approx(2**1.5)


def test_rankme_is_that_of_the_paper():
    """Garrido et al. 2023, section 3: p = sigma / |sigma|_1 + 1e-7, exp(-sum p log p)."""
    values = torch.linalg.svdvals(gaussian(64, 16) * torch.logspace(0, -4, 16, dtype=torch.float64))
    shares = (values / values.abs().sum() + RANKME_EPS).tolist()
    expected = math.exp(-sum(p * math.log(p) for p in shares))
    assert rankme(values).item() == pytest.approx(expected, rel=1e-12)
    assert rankme(values) > effective_rank(values)


def test_participation_ratio_by_hand():
    assert participation_ratio(torch.tensor([3.0, 1.0])).item() == pytest.approx(16 / 10)


def test_participation_ratio_of_gaussians():
    """Of k equal variances in D dimensions it is k; of N images it is below by a factor 1 / (1 + k / N)."""
    k, width, count = 12, 40, 20000
    x = gaussian(count, k) @ orthogonal(width)[:k]
    variances = singular_values(x, centerd=True).square()
    assert participation_ratio(variances).item() == pytest.approx(k / (1 + k / count), rel=0.005)


def test_participation_ratio_of_a_power_law():
    variances = torch.arange(1, 100001, dtype=torch.float64) ** -2
    expected = (math.pi**2 / 6) ** 2 / (math.pi**4 / 90)
    assert participation_ratio(variances).item() == pytest.approx(expected, rel=1e-4)


def test_participation_ratio_agrees_with_scikit_dimension():
    lpca = pytest.importorskip("skdim.id", reason="scikit-dimension is not installed").lPCA
    x = gaussian(300, 10) * torch.linspace(0.2, 2, 10, dtype=torch.float64)
    found = lpca(ver="participation_ratio").fit(x.numpy()).dimension_
    assert participation_ratio(singular_values(x, centerd=True).square()).item() == pytest.approx(
        found, rel=1e-9
    )


def isoscore_in_steps(x):
    """Rudman et al. 2022, algorithm 1, step by step."""
    width = x.shape[1]
    turned = (x - x.mean(0)) @ torch.linalg.eigh(torch.cov(x.T)).eigenvectors
    diagonal = torch.cov(turned.T).diagonal()
    normalized = math.sqrt(width) * diagonal / diagonal.norm()
    defect = (normalized - 1).norm() / math.sqrt(2 * (width - math.sqrt(width)))
    share = (width - defect**2 * (width - math.sqrt(width))) ** 2 / width**2
    return (width * share - 1) / (width - 1)


@pytest.mark.parametrize("width", [2, 7, 30])
def test_isoscore_is_that_of_the_paper(width):
    x = gaussian(200, width) * torch.logspace(0, -1, width, dtype=torch.float64)
    variances = singular_values(x, centerd=True).square()
    assert isoscore(variances, width).item() == pytest.approx(isoscore_in_steps(x).item(), rel=1e-9)


def test_isoscore_at_its_ends():
    assert isoscore(torch.ones(6), 6) == 1
    assert isoscore(torch.tensor([2.0, 0, 0]), 3) == 0
    assert isoscore(torch.tensor([2.0]), 1) == 1
    assert isoscore(torch.ones(3), 5).item() == pytest.approx(0.5), "two dimensions without variance"
    assert isoscore(torch.zeros(4), 4) == 0


@pytest.mark.parametrize("measure", RANKS)
def test_features_that_are_all_zero_have_rank_zero(measure):
    assert measure(singular_values(torch.zeros(10, 4))) == 0


@pytest.mark.parametrize("measure", RANKS)
def test_alike_images_have_one_direction_and_none_about_their_mean(measure):
    x = torch.ones(10, 4)
    assert measure(singular_values(x)).item() == pytest.approx(1, abs=1e-5)
    assert measure(singular_values(x, centerd=True)) == 0


@pytest.mark.parametrize("measure", RANKS)
@given(
    seed=st.integers(0, 10**6), scale=st.floats(1e-6, 1e6), shape=st.sampled_from([(5, 3), (3, 6), (20, 8)])
)
def test_order_rotation_and_scale_do_not_matter(measure, seed, scale, shape):
    x = gaussian(*shape, seed=seed)
    order = torch.randperm(shape[0], generator=torch.Generator().manual_seed(seed))
    expected = measure(singular_values(x)).item()
    assert 1 - 1e-9 <= expected <= min(shape) + 1e-4
    assert measure(singular_values(x[order])).item() == pytest.approx(expected, rel=1e-9)
    assert measure(singular_values(x @ orthogonal(shape[1], seed))).item() == pytest.approx(
        expected, rel=1e-9
    )
    assert measure(singular_values(scale * x)).item() == pytest.approx(expected, rel=1e-9)
