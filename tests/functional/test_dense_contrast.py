"""DenseCL's loss against WXinlong/DenseCL."""

from __future__ import annotations

import pytest
import torch

from sslkit import losses
from sslkit.functional.dense_contrast import best_matches, dense_similarity


def rows(grid):
    """`[B, D, N]` or `[B, D, H, W]` as `[B, N, D]`."""
    return grid.flatten(2).mT


def test_matches_are_those_of_backbone_features(golden):
    arrays = golden("densecl_loss")
    features = [rows(arrays[name]) for name in ("q_backbone", "k_backbone")]
    assert torch.equal(best_matches(*features), arrays["match"])
    dense = [rows(arrays[name]) for name in ("q_grid", "k_grid")]
    assert not torch.equal(best_matches(*dense), arrays["match"]), "dense embeddings match otherwise"


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=str)
def test_losses_and_gradients_are_the_references(dtype, limit, golden):
    """Half of each; negatives of patches are pooled keys of other images."""
    arrays = golden("densecl_loss")
    q, grid = (arrays[name].to(dtype).requires_grad_() for name in ("q", "q_grid"))
    k, k_grid, queue, dense_queue = (arrays[name].to(dtype) for name in ("k", "k_grid", "queue", "queue2"))
    single = 0.5 * losses.info_nce(q, k, queue=queue.mT, in_batch=False)
    dense = 0.5 * losses.dense_cl(rows(grid), rows(k_grid), arrays["match"], dense_queue.mT)
    (single + dense).backward()
    assert single.item() == pytest.approx(arrays["loss_single"].item(), abs=limit)
    assert dense.item() == pytest.approx(arrays["loss_dense"].item(), abs=limit)
    torch.testing.assert_close(q.grad, arrays["grad_q"].to(dtype), rtol=0, atol=limit)
    torch.testing.assert_close(grid.grad, arrays["grad_q_grid"].to(dtype), rtol=0, atol=limit)


def test_other_patches_are_no_negatives():
    """Candidates: the match and the queue."""
    patches, queue = torch.eye(3)[None], torch.eye(3)[:2]
    similar = dense_similarity(patches, patches, torch.tensor([[2, 1, 0]]), queue)
    assert similar.values.shape == (3, 3)
    assert similar.values[:, 0].tolist() == [0, 1, 0]
    assert similar.positive.tolist() == [0, 0, 0]
