"""Centers against DINOv2's numbers, and what each kind of centering does."""

from __future__ import annotations

import pytest
import torch

from sslkit.functional.sinkhorn import sinkhorn
from sslkit_objectives.distillation.teacher_centering import Center, tallied
from tests.near import error_of
from tests.plugins.objectives.distillation.parts import PRECISIONS


@pytest.mark.parametrize(("dtype", "error"), PRECISIONS)
def test_it_is_dinov2s(golden, dtype, error):
    """facebookresearch/dinov2@b8931f7bf915:dinov2/loss/dino_clstoken_loss.py: three steps, in halves."""
    arrays = golden("dinov2_dino_loss")
    center = Center(12, "center", 0.9).to(dtype)
    for i in range(3):
        teacher = arrays[f"teacher_{i}"].to(dtype)
        assert error_of(center.center[None], arrays[f"center_used_{i}"]) <= error
        assert error_of(center(teacher, torch.tensor(0.07, dtype=dtype)), arrays[f"softmaxed_{i}"]) <= error
        rows = [tallied(part.sum(0), len(part)) for part in teacher.split([3, 5])]
        center.commit({key: torch.cat([part[key] for part in rows]) for key in rows[0]})
    assert error_of(center.center[None], arrays["center_final"]) <= error


def test_where_nothing_was_summed_the_center_stays():
    """A batch without any hidden patch."""
    center = Center(4, "center", 0.9)
    center.center.copy_(torch.arange(4.0))
    center.commit(tallied(torch.zeros(4), torch.tensor(0.0)))
    assert torch.equal(center.center, torch.arange(4.0))


def test_sinkhorn_takes_the_rows_of_all_crops_together():
    logits, temperature = torch.randn(2, 3, 5), torch.tensor(0.1)
    center = Center(5, "sinkhorn", 0.9)
    found = center(logits, temperature)
    assert torch.equal(found.flatten(0, 1), sinkhorn(logits.flatten(0, 1), temperature))
    assert not center.moves
    assert not list(center.buffers())


def test_none_only_sharpens():
    logits = torch.randn(2, 3, 5)
    assert torch.equal(Center(5, "none", 0.9)(logits, torch.tensor(0.1)), (logits / 0.1).softmax(-1))


def test_a_center_counters_a_prototype_that_every_image_chooses():
    """The entropy over the batch grows back after the mean is subtracted."""
    logits = torch.randn(1, 64, 5) + torch.tensor([3.0, 0, 0, 0, 0])
    center, temperature = Center(5, "center", 0.0), torch.tensor(0.1)
    before = center(logits, temperature).mean((0, 1))
    center.commit(tallied(logits.sum((0, 1)), 64))
    after = center(logits, temperature).mean((0, 1))
    assert before[0] > 0.95
    assert after.max() < 0.5


@pytest.mark.parametrize("centering", ["center", "sinkhorn", "none"])
def test_probabilities_are_float32_for_bfloat16_logits(centering):
    found = Center(5, centering, 0.9)(torch.randn(2, 3, 5).bfloat16(), torch.tensor(0.1))
    assert found.dtype == torch.float32
    assert torch.allclose(found.sum(-1), torch.ones(2, 3), atol=1e-6)
