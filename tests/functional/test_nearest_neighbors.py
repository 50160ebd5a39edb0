from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sslkit.functional import nearest_neighbors
from sslkit.functional.nearest_neighbors import approximate, nearest, recall

ENGINES = ("torch", "faiss")


def brute_force(queries: Tensor, bank: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """All similarities in float64, fully sorted; a stable sort puts ties by lower index."""
    unit = [torch.nn.functional.normalize(x.float(), dim=1).double() for x in (queries, bank)]
    similarity = (unit[0] @ unit[1].T * nearest_neighbors.STEPS).round() / nearest_neighbors.STEPS
    ordered = similarity.sort(dim=1, descending=True, stable=True)
    return ordered.values[:, :k], ordered.indices[:, :k]


@pytest.mark.parametrize("engine", ENGINES)
def test_equals_reference_neighbors(golden, engine):
    arrays = golden("knn_dino")
    found = nearest(arrays["test_features"], arrays["train_features"], 20, engine)
    assert torch.equal(found.rows, arrays["neighbors_k20"])
    cosine = arrays["test_features"].double() @ arrays["train_features"].double().T
    torch.testing.assert_close(found.similarity, cosine.gather(1, found.rows), atol=3e-7, rtol=0)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("m", "n", "d", "k"), [(1, 1, 1, 1), (3, 5, 2, 5), (50, 400, 8, 7), (40, 300, 64, 33)]
)
def test_equals_brute_force(engine, m, n, d, k):
    queries, bank = torch.randn(m, d), torch.randn(n, d)
    found = nearest(queries, bank, k, engine)
    similarity, index = brute_force(queries, bank, k)
    assert torch.equal(found.rows, index)
    assert torch.equal(found.similarity, similarity)


@pytest.mark.parametrize("engine", ENGINES)
def test_copies_come_by_lower_index_even_where_candidates_run_out(engine):
    bank = torch.randn(10, 6).repeat(40, 1)[torch.randperm(400)]
    queries = torch.cat([bank[:5], torch.randn(20, 6)])
    assert torch.equal(nearest(queries, bank, 9, engine).rows, brute_force(queries, bank, 9)[1])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("value", [0.0, 0.3])
def test_collapsed_features_give_the_first_rows(engine, value):
    found = nearest(torch.full((4, 16), value), torch.full((200, 16), value), 3, engine)
    assert torch.equal(found.rows, torch.arange(3).expand(4, 3))


def test_engine_with_coarse_sums_is_corrected(monkeypatch):
    """TF32 and the like: an engine off by 1e-3 proposes wrong candidates, the answer stays exact."""
    queries, bank = torch.randn(30, 8), torch.randn(2000, 8)
    right = nearest_neighbors._propose_torch

    def coarse(queries: Tensor, bank: Tensor, width: int) -> tuple[Tensor, Tensor]:
        noise = torch.randn(len(queries), len(bank), generator=torch.Generator().manual_seed(1)) * 1e-3
        values, indices = (queries @ bank.T + noise).topk(width, dim=1)
        return values, indices

    monkeypatch.setattr(nearest_neighbors, "SPARE", 2)
    monkeypatch.setattr(nearest_neighbors, "_propose_torch", coarse)
    assert not torch.equal(coarse(queries, bank, 10)[1], right(queries, bank, 10)[1])
    assert torch.equal(nearest(queries, bank, 10).rows, brute_force(queries, bank, 10)[1])


def test_chunk_size_changes_nothing(monkeypatch):
    queries, bank = torch.randn(37, 12), torch.randn(150, 12)
    whole = nearest(queries, bank, 11)
    monkeypatch.setitem(nearest_neighbors.BLOCK, "cpu", 1)
    pieces = nearest(queries, bank, 11)
    assert torch.equal(whole.rows, pieces.rows)
    assert torch.equal(whole.similarity, pieces.similarity)


def test_length_of_features_changes_nothing():
    queries, bank = torch.randn(20, 12), torch.randn(90, 12)
    scaled = nearest(queries * 8, bank * torch.tensor(2.0) ** torch.randint(-3, 3, (90, 1)), 5)
    assert torch.equal(nearest(queries, bank, 5).rows, scaled.rows)


@pytest.mark.parametrize("k", [0, 6])
def test_impossible_k_is_refused(k):
    with pytest.raises(ValueError, match=rf"1 \.\. 5.*found {k}"):
        nearest(torch.randn(2, 3), torch.randn(5, 3), k)


def test_an_inverted_file_with_all_cells_is_exact():
    queries, bank = torch.randn(30, 8), torch.randn(800, 8)
    found, exact = approximate(queries, bank, 10, 1000), nearest(queries, bank, 10)
    assert torch.equal(found.rows, exact.rows)
    assert torch.equal(found.similarity, exact.similarity)


def test_few_cells_find_most_neighbors_and_always_k_of_them():
    queries, bank = torch.randn(40, 4), torch.randn(2000, 4)
    exact = nearest(queries, bank, 60)
    shares = []
    for probes in (1, 8, 100):
        found = approximate(queries, bank, 60, probes)
        assert found.rows.shape == (40, 60)
        assert all(len(row.unique()) == 60 for row in found.rows)
        assert bool((found.similarity[:, 1:] <= found.similarity[:, :-1]).all())
        shares.append(recall(found.rows, exact.rows))
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_recall_is_a_share_of_the_true_ones():
    true = torch.tensor([[0, 1], [2, 3]])
    assert recall(true.flip(1), true) == 1
    assert recall(torch.tensor([[0, 9], [8, 9]]), true) == 0.25


def test_too_many_approximate_neighbors_are_an_error():
    with pytest.raises(ValueError, match=r"1 \.\. 5"):
        approximate(torch.randn(2, 3), torch.randn(5, 3), 6, 1)


@pytest.mark.parametrize("columns", [16 * 40, 16 * 40 + 1, 16 * 41 - 1, 30])
def test_maxima_of_groups_lead_to_the_largest(columns):
    values = torch.randn(12, columns).mul(4).round()  # many ties
    found, places = nearest_neighbors._best(values, 10)
    assert torch.equal(found, values.topk(10, dim=1).values)
    assert torch.equal(values.gather(1, places), found)
    assert all(len(row.unique()) == 10 for row in places)
