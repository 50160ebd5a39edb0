"""The Gaussian model of patches, and greedy choices under it."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit_maskers.guided.gaussian import choose, covariance, describe, places


def model(rows: int, patches: int, seed: int = 0) -> Tensor:
    """Covariances of random patches, `[rows, patches, patches]`."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(rows, patches, 3, generator=generator, dtype=torch.float64)
    deviation = torch.rand(rows, patches, generator=generator, dtype=torch.float64) + 0.5
    return covariance(inputs, deviation, 0.05)


def entropy(cov: Tensor, chosen: Tensor) -> Tensor:
    """log-determinant of the chosen patches of one image: twice their entropy, but for a constant."""
    return torch.logdet(cov[chosen][:, chosen])


def test_descriptors_are_average_pooled_pixels() -> None:
    images = torch.randn(3, 2, 16, 24)
    cells, detail = describe(images, 8, 4)
    pooled = F.avg_pool2d(images, 2).unfold(2, 4, 4).unfold(3, 4, 4)  # [3, 2, 2, 3, 4, 4]
    assert torch.allclose(cells.float(), pooled.permute(0, 2, 3, 1, 4, 5).reshape(3, 6, 32), atol=1e-6)
    pixels = images.unfold(2, 8, 8).unfold(3, 8, 8).flatten(-2)
    expected = pixels.var(-1, unbiased=False).mean(1).flatten(1)
    assert torch.allclose(detail.float(), expected, atol=1e-5)


def test_flat_patches_have_no_detail() -> None:
    cells, detail = describe(torch.full((1, 3, 8, 8), 0.7), 4, 2)
    assert torch.allclose(cells, torch.full_like(cells, 0.7))
    assert detail.max() < 1e-6
    assert detail.min() >= 0


def test_descriptors_do_not_depend_on_the_batch() -> None:
    images = torch.randn(7, 3, 32, 32)
    whole, part = describe(images, 16, 4), describe(images[2:5], 16, 4)
    assert torch.equal(whole.cells[2:5], part.cells)
    assert torch.equal(whole.detail[2:5], part.detail)


def test_the_covariance_is_the_documented_one() -> None:
    x, s = torch.randn(2, 5, 3, dtype=torch.float64), torch.rand(2, 5, dtype=torch.float64) + 0.1
    found = covariance(x, s, 0.2)
    for r in range(2):
        for i in range(5):
            for j in range(5):
                kernel = math.exp(-(x[r, i] - x[r, j]).square().sum().item() / 2)
                expected = s[r, i] * s[r, j] * kernel + 0.2 * (i == j)
                assert found[r, i, j].item() == pytest.approx(expected.item())
    assert torch.linalg.eigvalsh(found).min() > 0.19, "positive definite, by the noise at least"


def test_places_go_along_the_rows() -> None:
    assert places(2, 3).tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(("patches", "count"), [(6, 1), (6, 5), (9, 4), (12, 7)])
def test_every_step_is_the_best_by_brute_force(sign: int, patches: int, count: int) -> None:
    """The chosen set grows by the patch that changes its log-determinant least, or most."""
    cov = model(4, patches)
    first = torch.tensor([0, 3, 5, 1])
    chosen = choose(cov, first, count, sign, torch.zeros(4, patches))
    for row in range(4):
        grown = torch.arange(patches) == first[row]
        for _ in range(count - 1):
            left = (~grown).nonzero().flatten().tolist()
            values = [sign * entropy(cov[row], grown | (torch.arange(patches) == i)).item() for i in left]
            grown[left[values.index(max(values))]] = True
        assert torch.equal(chosen[row], grown)


def test_the_least_visible_entropy_is_the_greatest_conditional_entropy_of_the_rest() -> None:
    """h(hidden | visible) = h(all) - h(visible): the Schur complement of one set by the other."""
    (cov,) = model(1, 10)
    visible = choose(cov[None], torch.tensor([2]), 4, -1, torch.zeros(1, 10))[0]
    across = cov[~visible][:, visible]
    given = cov[~visible][:, ~visible] - across @ torch.linalg.solve(cov[visible][:, visible], across.T)
    assert torch.logdet(given).item() == pytest.approx((torch.logdet(cov) - entropy(cov, visible)).item())


@pytest.mark.parametrize("sign", [-1, 1])
def test_each_image_is_chosen_for_on_its_own(sign: int) -> None:
    cov, first = model(5, 12), torch.arange(5)
    bias = torch.rand(5, 12, dtype=torch.float64)
    whole = choose(cov, first, 6, sign, bias)
    for i in range(5):
        assert torch.equal(whole[i], choose(cov[i : i + 1], first[i : i + 1], 6, sign, bias[i : i + 1])[0])


def test_a_bias_outweighs_entropy_by_its_size() -> None:
    cov = model(3, 8)
    bias = torch.zeros(3, 8).index_fill(1, torch.tensor([1, 6]), 1e3)
    chosen = choose(cov, torch.tensor([0, 4, 7]), 3, -1, bias)
    assert chosen[:, [1, 6]].all()
    assert chosen.sum(-1).tolist() == [3, 3, 3]


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("noise", [1.0, 1e-9])
def test_equal_patches_give_exact_counts(sign: int, noise: float) -> None:
    """All at one place: a covariance of rank one, and noise."""
    cov = covariance(
        torch.zeros(2, 20, 3, dtype=torch.float64), torch.ones(2, 20, dtype=torch.float64), noise
    )
    chosen = choose(cov, torch.tensor([3, 19]), 15, sign, torch.rand(2, 20))
    assert chosen.sum(-1).tolist() == [15, 15]
    assert chosen[0, 3]
    assert chosen[1, 19]
