"""CAPI: its targets, its heads, and runs. Its assignments are in tests/functional."""

from __future__ import annotations

import pytest
import torch

from sslkit import CAPI
from sslkit.core.passes import Mask, Tokens
from tests.plugins.objectives.joint_embedding import parts

SMALL = {
    "kind": "capi",
    "prototypes": 8,
    "masker": {"kind": "random", "ratio": 0.5},
    "predictor": {"depth": 1, "width": 16, "heads": 2},
}


class Says(torch.nn.Module):
    """A head that says what it is told."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, *_):
        return self.value


def objective_of(arrays, dtype, **fields):
    """One that clusters as the reference's head does and predicts what its student did."""
    spec = CAPI(**{**SMALL, "prototypes": 7}, **fields)
    objective = spec.build(parts.env(5)).to(dtype)
    with torch.no_grad():
        objective.clusters.weight.copy_(arrays["weight"])
        objective.clusters.bias.copy_(arrays["bias"])
    logits = arrays["student_logits"].to(dtype).requires_grad_()
    objective.predictor, objective.student_head = Says(torch.ones(6, 5, dtype=dtype)), Says(logits)
    return objective, logits


def passes_of(arrays, dtype):
    """Both passes of four images, whose patches `predict_indices` are hidden."""
    patches = arrays["teacher_patches"].to(dtype).transpose(0, 1)[None]
    flat = arrays["predict_indices"]
    hidden = torch.zeros(24, dtype=torch.bool).scatter(0, flat, True).view(1, 4, 6)
    # the reference's mean is over all predicted patches, ours over images first: as if each image had hidden 6 / 4
    mask = Mask(hidden, torch.zeros(1, 4, 0, dtype=torch.int64), flat, torch.full((6,), 1.5))
    image = torch.zeros(1, 4, 1, 8, 8)
    cls = patches.mean(2)
    return Tokens(image, cls, patches, mask, ()), Tokens(image, cls, patches, None, ())


@pytest.mark.parametrize("dtype", parts.TOLERANCE, ids=str)
def test_both_losses_and_their_gradients_are_the_references(dtype, golden):
    arrays, limit = golden("capi_loss"), parts.TOLERANCE[dtype]
    objective, logits = objective_of(arrays, dtype)
    output = objective({}, *passes_of(arrays, dtype))
    output.loss.backward()
    values = {"prediction": "student_loss", "clustering": "clustering_loss_positionwise"}
    for name, array in values.items():
        assert output.metrics[name].item() == pytest.approx(arrays[array].item(), abs=limit)
    torch.testing.assert_close(logits.grad, arrays["grad_student"].to(dtype), rtol=0, atol=limit)
    wanted = arrays["grad_weight_positionwise"].to(dtype)
    torch.testing.assert_close(objective.clusters.weight.grad, wanted, rtol=0, atol=limit)


def test_clusters_shared_by_all_patches_are_the_references(golden):
    arrays = golden("capi_loss")
    objective, _ = objective_of(arrays, torch.float64, positionwise=False)
    output = objective({}, *passes_of(arrays, torch.float64))
    wanted = arrays["clustering_loss_global"].item()
    assert output.metrics["clustering"].item() == pytest.approx(wanted, abs=1e-10)


def test_defaults_are_those_of_the_reference():
    """`default_pretrain_config.yaml`."""
    spec = CAPI()
    assert (spec.prototypes, spec.temperature, spec.target_temperature, spec.iterations) == (
        16384,
        0.12,
        0.06,
        3,
    )
    assert spec.masker.ratio == 0.65
    assert spec.masker.roll
    objective = CAPI(**SMALL).build(parts.env(12))
    assert objective.clusters.weight.shape == (8, 12)
    assert not objective.clusters.bias.any()
    assert objective.student_head.weight_g.requires_grad, "the reference's scale is trained"


def test_no_gradient_reaches_the_teacher():
    objective = CAPI(**SMALL).build(parts.env())
    patches = torch.randn(2, 3, 4, 12, requires_grad=True)
    objective._logits(patches).sum().backward()
    assert patches.grad is None
    assert objective.clusters.weight.grad is not None


def test_it_learns_and_a_rate_too_high_makes_assignments_uniform():
    first, last, values = parts.learn(SMALL, optimizer={"lr": 0.01})
    assert last < first
    assert values["capi/feature_std"] > 0.3
    assert values["capi/teacher_entropy_share"] < 0.5
    *_, broken = parts.learn(SMALL, optimizer={"lr": 1.0})
    assert broken["capi/feature_std"] < values["capi/feature_std"]
    assert broken["capi/teacher_entropy_share"] > 1.5 * values["capi/teacher_entropy_share"]
