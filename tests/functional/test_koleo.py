"""KoLeo against DINOv2's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sslkit.functional.koleo import koleo, nearest_others

PRECISIONS = [(torch.float64, 1e-10), (torch.float32, 1e-5)]


@pytest.mark.parametrize(("dtype", "error"), PRECISIONS)
def test_it_is_dinov2s(golden, dtype, error):
    """facebookresearch/dinov2@b8931f7bf915:dinov2/loss/koleo_loss.py: value, gradient, neighbors."""
    arrays = golden("dinov2_koleo")
    x = arrays["x"].to(dtype).requires_grad_()
    loss = koleo(x)
    loss.backward()
    assert loss.dtype == dtype
    torch.testing.assert_close(loss.double(), arrays["loss"], rtol=0, atol=error)
    torch.testing.assert_close(x.grad.double(), arrays["grad_x"], rtol=0, atol=error)
    assert torch.equal(nearest_others(F.normalize(x.detach(), dim=-1)), arrays["nn_index"])


def test_equal_directions_have_finite_gradients(golden):
    """Two parallel rows, as DINOv2 has them: the added 1e-8 decides, so that only float64 can agree."""
    arrays = golden("dinov2_koleo")
    x = arrays["x_dup"].requires_grad_()
    loss = koleo(x)
    loss.backward()
    torch.testing.assert_close(loss, arrays["loss_dup"], rtol=0, atol=1e-10)
    scale = arrays["grad_x_dup"].abs().max().item()
    torch.testing.assert_close(x.grad, arrays["grad_x_dup"], rtol=0, atol=1e-10 * scale)
    narrow = arrays["x_dup"].detach().float().requires_grad_()
    koleo(narrow).backward()
    assert narrow.grad.isfinite().all()


def test_crops_count_on_their_own():
    x = torch.randn(3, 7, 5, dtype=torch.float64)
    assert torch.allclose(koleo(x), torch.stack([koleo(crop) for crop in x]), atol=1e-14)


def test_length_does_not_matter_and_spread_features_score_lower():
    x = torch.randn(32, 16)
    assert koleo(x * torch.rand(32, 1).add(0.5)) == pytest.approx(koleo(x).item(), rel=1e-5)
    narrow = 0.1 * x + torch.ones(16)
    assert koleo(narrow) > koleo(x) + 1


def test_it_is_computed_in_float32_under_autocast():
    x = torch.randn(16, 8)
    with torch.autocast("cpu", torch.bfloat16):
        found = koleo(x)
    assert found.dtype == torch.float32
    assert found == koleo(x)
    assert koleo(x.bfloat16()).dtype == torch.float32
