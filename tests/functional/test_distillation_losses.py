"""Cross-entropies against their definition and DINOv2's numbers."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from sslkit.functional.distillation_losses import between_crops, cross_entropy
from sslkit_objectives.distillation.teacher_entropy import entropy, entropy_shares
from tests.near import error_of
from tests.plugins.objectives.distillation.parts import PRECISIONS


@pytest.mark.parametrize(("dtype", "error"), PRECISIONS)
def test_every_pair_is_dinov2s(golden, dtype, error):
    """facebookresearch/dinov2@b8931f7bf915:dinov2/loss/dino_clstoken_loss.py: the sum over all pairs, and gradients."""
    arrays = golden("dinov2_dino_loss")
    student = torch.stack([arrays[f"student_{i}"] for i in range(3)]).to(dtype).requires_grad_()
    loss = cross_entropy(student[:, None] / 0.1, arrays["targets"].to(dtype)).mean(-1).sum()
    loss.backward()
    assert error_of(loss / 6, arrays["loss"] / 6) <= error
    for i in range(3):
        assert error_of(student.grad[i], arrays[f"grad_student_{i}"]) <= error, f"view {i}"


@pytest.mark.parametrize(("teacher", "student"), [(2, 2), (2, 7), (3, 5)])
def test_between_crops_is_the_mean_over_pairs_of_different_crops(teacher, student):
    """By a loop over pairs, as the references have it; value and gradient."""
    scores = (10 * torch.randn(student, 4, 9, dtype=torch.float64)).requires_grad_()
    goal = torch.randn(teacher, 4, 9, dtype=torch.float64).softmax(-1)
    pairs = [F.cross_entropy(scores[s], goal[v]) for v in range(teacher) for s in range(student) if s != v]
    expected = torch.stack(pairs).mean()
    (gradient,) = torch.autograd.grad(expected, scores)
    found = between_crops(scores, goal)
    (own,) = torch.autograd.grad(found, scores)
    assert torch.allclose(found, expected, atol=1e-12)
    assert torch.allclose(own, gradient, atol=1e-14)


def test_entropy_is_at_most_ln_k():
    assert entropy(torch.full((3, 8), 1 / 8)).item() == pytest.approx(math.log(8))
    assert entropy(torch.eye(5)).item() == 0
    assert 0 < entropy(torch.randn(4, 8).softmax(-1)) < math.log(8)


def test_shares_tell_uniform_rows_from_a_prototype_that_takes_all():
    names = "teacher_entropy_share", "prototype_entropy_share"
    cases = {
        "uniform": (torch.full((2, 3, 8), 1 / 8), (1.0, 1.0)),
        "one takes all": (torch.eye(8)[:1].expand(2, 3, 8), (0.0, 0.0)),
        "one each": (torch.eye(8)[:6].view(2, 3, 8), (0.0, 1.0)),
    }
    for case, (goal, expected) in cases.items():
        found = entropy_shares(goal)
        assert [found[name].item() for name in names] == pytest.approx(expected, abs=1e-6), case
