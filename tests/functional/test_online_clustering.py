"""CAPI's assignments and losses against facebookresearch/capi and lightly."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sslkit import losses
from sslkit.functional.online_clustering import balanced_assignments

CASES = {"positionwise": True, "global": False}
PRECISION = [(torch.float64, 1e-10), (torch.float32, 1e-5)]


def head_of(arrays, dtype):
    weight, bias = (arrays[name].to(dtype).requires_grad_() for name in ("weight", "bias"))
    patches = F.normalize(arrays["teacher_patches"].to(dtype), dim=-1, eps=1e-7)
    return weight, bias, F.linear(patches, weight, bias)


@pytest.mark.parametrize("case", CASES)
def test_assignments_are_the_references(case, golden):
    """Rows may sum to less than 1: what has hardly any weight is not lifted to an equal share."""
    arrays = golden("capi_loss")
    *_, logits = head_of(arrays, torch.float64)
    shares = balanced_assignments(logits, 0.06, positionwise=CASES[case])
    torch.testing.assert_close(shares, arrays[f"assignments_{case}"], rtol=0, atol=1e-10)
    torch.testing.assert_close(shares.sum(-1), arrays[f"row_sums_{case}"], rtol=0, atol=1e-10)
    assert not shares.requires_grad


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("dtype", "limit"), PRECISION, ids=str)
def test_the_clustering_loss_and_its_gradients_are_the_references(case, dtype, limit, golden):
    arrays = golden("capi_loss")
    weight, bias, logits = head_of(arrays, dtype)
    loss = losses.capi(logits, positionwise=CASES[case])
    loss.backward()
    assert loss.item() == pytest.approx(arrays[f"clustering_loss_{case}"].item(), abs=limit)
    if case == "positionwise":
        assert loss.item() == pytest.approx(arrays["lightly_clustering"].item(), abs=limit)
    torch.testing.assert_close(weight.grad, arrays[f"grad_weight_{case}"].to(dtype), rtol=0, atol=limit)
    torch.testing.assert_close(bias.grad, arrays[f"grad_bias_{case}"].to(dtype), rtol=0, atol=limit)


@pytest.mark.parametrize("positionwise", [True, False])
def test_prototypes_share_images_evenly(positionwise):
    logits = torch.randn(3, 8, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shares = balanced_assignments(logits, 1.0, 50, positionwise=positionwise)
    torch.testing.assert_close(shares.sum(-1), torch.ones(3, 8, dtype=torch.float64), rtol=0, atol=1e-6)
    used = shares.sum(1) if positionwise else shares.sum((0, 1))
    torch.testing.assert_close(used, torch.full_like(used, 2 if positionwise else 6), rtol=0, atol=1e-4)
