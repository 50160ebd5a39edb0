"""Sinkhorn-Knopp against DINOv2's and SwAV's."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sslkit.functional.sinkhorn import sinkhorn

TEMPERATURES = ["0.04", "0.07", "0.5"]


@pytest.mark.parametrize("iterations", [1, 3, 10])
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_it_is_dinov2s(golden, temperature, iterations):
    """facebookresearch/dinov2@b8931f7bf915:dinov2/loss/dino_clstoken_loss.py `sinkhorn_knopp_teacher`."""
    arrays = golden("dinov2_sinkhorn")
    found = sinkhorn(arrays["teacher"], float(temperature), iterations)
    torch.testing.assert_close(found, arrays[f"q_T{temperature}_it{iterations}"], rtol=0, atol=1e-10)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_it_is_swavs_and_dinov2s_in_float32(golden, temperature):
    """lightly 1.6.0 `loss/swav_loss.py` in float64; DINOv2's unchanged code, which casts to float32."""
    arrays = golden("dinov2_sinkhorn")
    wide = sinkhorn(arrays["teacher"], float(temperature))
    torch.testing.assert_close(wide, arrays[f"swav_T{temperature}"], rtol=0, atol=1e-10)
    narrow = sinkhorn(arrays["teacher"].float(), float(temperature))
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow, arrays[f"q32_T{temperature}"], rtol=0, atol=1e-5)


def test_rows_that_are_not_real_change_nothing_for_the_others(golden):
    """DINOv2's patch form, for the hidden patches of a batch whose shape is filled up."""
    arrays = golden("dinov2_sinkhorn")
    filled = torch.cat([arrays["teacher"], 5 * torch.ones(3, 12, dtype=torch.float64)])
    real = torch.arange(11) < 8
    found = sinkhorn(filled, torch.tensor(0.07, dtype=torch.float64), real_M=real)
    torch.testing.assert_close(found[:8], arrays["q_patch_T0.07"], rtol=0, atol=1e-10)
    assert found.isfinite().all()


def test_no_real_row_gives_finite_values():
    """A batch in which no image has a mask."""
    found = sinkhorn(torch.randn(4, 6), 0.1, real_M=torch.zeros(4, dtype=torch.bool))
    assert found.isfinite().all()


@given(st.integers(2, 40), st.integers(2, 12), st.floats(0.01, 1.0))
def test_rows_are_probabilities_and_prototypes_share_them_evenly(rows, prototypes, temperature):
    logits = torch.rand(rows, prototypes, generator=torch.Generator().manual_seed(rows), dtype=torch.float64)
    found = sinkhorn(logits, temperature, iterations=300)
    assert torch.allclose(found.sum(1), torch.ones(rows, dtype=torch.float64), atol=1e-12)
    even = torch.full((prototypes,), rows / prototypes, dtype=torch.float64)
    assert torch.allclose(found.sum(0), even, rtol=0.05)


def test_it_does_not_overflow_where_the_references_do():
    """logits / temperature of 1000; a shift of all logits changes nothing."""
    logits = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))
    found = sinkhorn(logits + 10, 0.01)
    assert not ((logits + 10) / 0.01).exp().isfinite().all()
    assert found.isfinite().all()
    assert torch.allclose(found, sinkhorn(logits, 0.01), atol=1e-3)


def test_collapsed_logits_become_even():
    """All rows choose one prototype; assignments are uniform all the same."""
    logits = torch.zeros(6, 4).index_fill(1, torch.tensor([2]), 9.0)
    assert torch.allclose(sinkhorn(logits, 0.1), torch.full((6, 4), 0.25), atol=1e-6)
    assert math.isclose(sinkhorn(logits, 0.1, iterations=1).sum().item(), 6, rel_tol=1e-6)


def test_it_has_no_gradient():
    assert not sinkhorn(torch.randn(4, 3, requires_grad=True), 0.1).requires_grad
