"""Gram anchoring against DINOv3's."""

from __future__ import annotations

import pytest
import torch

from sslkit.functional.patch_similarity import gram_loss, patch_similarity

PRECISIONS = [(torch.float64, 1e-10), (torch.float32, 1e-5)]
CASES = {
    "default": {"remove_negative": True},
    "teacher_neg": {"only_teacher_negative": True},
    "keep_neg": {},
    "nonorm": {"normalized": False, "remove_negative": True},
}
"""Case of the reference arrays -> options here; its class removes negatives unless it is told otherwise."""


@pytest.mark.parametrize(("dtype", "error"), PRECISIONS)
@pytest.mark.parametrize("case", [*CASES, "batch"])
def test_it_is_dinov3s(golden, case, dtype, error):
    """facebookresearch/dinov3@6876159a11b4:dinov3/loss/gram_loss.py: value and gradient."""
    arrays = golden("dinov3_gram")
    student = arrays["student"].to(dtype).requires_grad_()
    teacher = arrays["teacher"].to(dtype)
    if case == "batch":
        loss = gram_loss(student.flatten(0, 1), teacher.flatten(0, 1), remove_negative=True)
    else:
        loss = gram_loss(student, teacher, **CASES[case]).mean()
    loss.backward()
    assert loss.dtype == dtype
    torch.testing.assert_close(loss.double(), arrays[f"loss_{case}"], rtol=0, atol=error)
    torch.testing.assert_close(student.grad.double(), arrays[f"grad_{case}"], rtol=0, atol=error)


def test_by_hand():
    """Two patches at a right angle against two that are alike: cosines [[1, 0], [0, 1]] and four times 1."""
    apart = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    alike = torch.tensor([[1.0, 1.0, 0.0], [2.0, 2.0, 0.0]])
    assert patch_similarity(apart).tolist() == [[1, 0], [0, 1]]
    assert patch_similarity(apart, normalized=False).tolist() == [[4, 0], [0, 9]]
    torch.testing.assert_close(gram_loss(apart, alike), torch.tensor(0.5))


def test_negatives_by_hand():
    """Student's cosine -1, teacher's 0.6, and the other way round."""
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    near = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    torch.testing.assert_close(gram_loss(opposite, near), torch.tensor(1.6**2 / 2))
    torch.testing.assert_close(gram_loss(opposite, near, remove_negative=True), torch.tensor(0.6**2 / 2))
    kept = gram_loss(opposite, near, only_teacher_negative=True)
    torch.testing.assert_close(kept, torch.tensor(1.6**2 / 2))
    cut = gram_loss(near, opposite, only_teacher_negative=True)
    torch.testing.assert_close(cut, torch.tensor(0.6**2 / 2))


def test_half_precision_is_compared_in_float32():
    x = torch.randn(2, 4, 8, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        loss = gram_loss(x, torch.randn(2, 4, 3, dtype=torch.bfloat16))
    assert loss.dtype == torch.float32


def test_a_patch_of_zeros_has_finite_gradients():
    x = torch.zeros(1, 3, 4, requires_grad=True)
    gram_loss(x, torch.ones(1, 3, 4)).mean().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
