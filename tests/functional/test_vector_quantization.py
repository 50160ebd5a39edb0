"""Nearest codes, tallies, k-means and how codes are used."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans

from sslkit.functional.vector_quantization import k_means, nearest_code, perplexity, repeated, tally, usage


def test_nearest_codes_equal_vector_quantize_pytorch(golden):
    """vector-quantize-pytorch 1.32.0 and faiss, euclidean and cosine."""
    arrays = golden("vq_assign")
    x, codes = arrays["x"].flatten(0, 1), arrays["codebook"]
    assert torch.equal(nearest_code(x, codes), arrays["index_euclid"].flatten())
    unit = nearest_code(F.normalize(x, dim=-1), F.normalize(codes, dim=-1))
    assert torch.equal(unit, arrays["index_cosine"].flatten())


def test_tallies_count_and_sum():
    vectors, ids = torch.randn(50, 3), torch.randint(0, 6, (50,))
    found = tally(vectors, ids, 7)
    for code in range(7):
        assert found.counts[code] == (ids == code).sum()
        assert torch.allclose(found.sums[code], vectors[ids == code].sum(0), atol=1e-5)


def test_k_means_equals_scikit_learn():
    vectors, start = torch.randn(200, 4), torch.randn(9, 4)
    centers, counts = k_means(vectors, start, 5)
    reference = KMeans(9, init=start.numpy(), n_init=1, max_iter=5, tol=0, algorithm="lloyd").fit(vectors)
    assert torch.allclose(centers, torch.tensor(reference.cluster_centers_).float(), atol=1e-5)
    assert counts.sum() == 200


def test_centers_that_nothing_chooses_stay():
    start = torch.tensor([[0.0, 0.0], [100.0, 100.0]])
    centers, counts = k_means(torch.randn(20, 2), start, 3)
    assert torch.equal(centers[1], start[1])
    assert counts.tolist() == [20.0, 0.0]


def test_unit_centers_are_mean_directions():
    vectors = F.normalize(torch.randn(300, 3), dim=-1)
    centers, _ = k_means(vectors, vectors[:5], 20, unit=True)
    assert torch.allclose(centers.norm(dim=-1), torch.ones(5))
    ids = nearest_code(vectors, centers)
    for code in range(5):
        assert torch.allclose(centers[code], F.normalize(vectors[ids == code].sum(0), dim=0), atol=1e-4)


@pytest.mark.parametrize(
    ("counts", "used", "effective"),
    [
        ([5.0, 5.0, 5.0, 5.0], 1.0, 4.0),
        ([8.0, 0.0, 0.0, 0.0], 0.25, 1.0),
        ([6.0, 2.0, 0.0, 0.0], 0.5, math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))),
        ([0.0, 0.0, 0.0, 0.0], 0.0, 1.0),
    ],
)
def test_usage_and_perplexity(counts, used, effective):
    counts = torch.tensor(counts)
    assert usage(counts).item() == used
    assert perplexity(counts).item() == pytest.approx(effective, rel=1e-6)


def test_usage_above_a_share_of_an_even_count():
    assert usage(torch.tensor([30.0, 0.2, 9.7, 0.1]), 0.015).item() == 0.75


@pytest.mark.parametrize("at_once", [1, 3, 256])
def test_vectors_that_equal_an_earlier_one(at_once):
    vectors = torch.tensor([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0], [3.0, 5.0], [1.0, 2.0]])
    assert repeated(vectors, at_once).tolist() == [False, False, True, False, True]
    assert not repeated(torch.randn(40, 3, generator=torch.Generator().manual_seed(0)), at_once).any()
