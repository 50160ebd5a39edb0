"""MSN: its passes, its heads, and runs. Its loss is in tests/functional."""

from __future__ import annotations

import pytest
import torch

from sslkit import MSN
from sslkit.core.passes import Encode
from sslkit.errors import SpecError
from tests import tiny
from tests.plugins.objectives.joint_embedding import parts

SMALL = {
    "kind": "msn",
    "local": None,
    "prototypes": 8,
    "head": {"layers": 2, "hidden": 16, "bottleneck": 8},
    "masker": {"kind": "random", "ratio": 0.25},
}


def bare(arrays, dtype, **fields):
    """The objective as the reference's loss sees it: embeddings and prototypes as they are."""
    spec = MSN(local="local", prototypes=7, head={"layers": 1, "bottleneck": 6}, **fields)
    objective = spec.build(parts.env(6)).to(dtype)
    objective.projector, objective.target_projector = parts.Passing(), parts.Passing()
    with torch.no_grad():
        objective.prototypes.weight_v.copy_(arrays["prototypes"])
    return objective


@pytest.mark.parametrize("dtype", parts.TOLERANCE, ids=str)
def test_loss_and_gradients_are_the_references(dtype, golden):
    """The last crop of the first view is the target, its others and all small crops are anchors."""
    arrays, limit = golden("msn_loss"), parts.TOLERANCE[dtype]
    objective = bare(arrays, dtype)
    anchors = arrays["anchors"].to(dtype).unflatten(0, (3, 4)).requires_grad_()
    target = arrays["targets"].to(dtype)
    unused = torch.zeros(1, 4, 6, dtype=dtype)
    masked = torch.cat([anchors[:1], unused])
    output = parts.loss_of(objective, masked, torch.stack([unused[0], target]), anchors[1:])
    output.loss.backward()
    assert output.loss.item() == pytest.approx(arrays["lightly_default"].item(), abs=limit)
    assert output.metrics["prediction"].item() == pytest.approx(arrays["ploss_sinkhorn"].item(), abs=limit)
    assert output.metrics["me_max"].item() == pytest.approx(arrays["memax_sinkhorn"].item(), abs=limit)
    wanted = arrays["grad_anchors_sinkhorn"].to(dtype)
    torch.testing.assert_close(anchors.grad.flatten(0, 1), wanted, rtol=0, atol=limit)
    wanted = arrays["grad_prototypes_sinkhorn"].to(dtype)
    torch.testing.assert_close(objective.prototypes.weight_v.grad, wanted, rtol=0, atol=limit)


def test_defaults_are_those_of_the_reference():
    """`configs/pretrain/msn_vits16.yaml`; `init_model` of `msn_train.py`."""
    spec = MSN()
    assert (spec.temperature, spec.sharpen, spec.me_max, spec.entropy) == (0.1, 0.25, 1, 0)
    with torch.device("meta"):
        objective = spec.build(parts.env(384))
    assert objective.passes == (
        Encode("global", mask=spec.masker),
        Encode("global", net="teacher"),
        Encode("local"),
    )
    kinds = [type(m).__name__ for m in objective.projector]
    assert kinds == ["Linear", "BatchNorm", "GELU"] * 2 + ["Linear"]
    assert objective.prototypes.weight_v.shape == (1024, 256)
    assert not objective.prototypes.weight_g.requires_grad, "only directions count"


def test_a_target_view_spares_the_pass_of_the_crop_that_is_no_anchor():
    spec = MSN(**{**SMALL, "target_view": "local"})
    objective = spec.build(parts.env())
    assert objective.passes == (Encode("global", mask=spec.masker), Encode("local", net="teacher"))
    assert objective.crops == {"global": 1, "local": 1}


def test_targets_read_the_average_and_the_prototypes_of_the_student():
    """Prototypes have no moving average."""
    objective = MSN(**SMALL).build(parts.env())
    assert objective.twins == {"projector": "target_projector"}
    assert not any(p.requires_grad for p in objective.target_projector.parameters())


def test_it_learns_and_a_rate_too_high_makes_everything_uniform():
    first, last, values = parts.learn(SMALL, optimizer={"lr": 0.01})
    assert last < first - 1
    assert values["msn/feature_std"] > 0.4
    *_, broken = parts.learn(SMALL, optimizer={"lr": 1.0})
    assert broken["msn/feature_std"] < 0.4
    assert broken["msn/teacher_entropy_share"] > 0.8


@pytest.mark.parametrize(
    ("fields", "views", "message"),
    [
        ({}, {"global": tiny.VIEW}, "view: needs at least 2 crops, of which the last is the target"),
        ({"target_view": "global"}, parts.TWO, "target_view: is `view` itself; leave it out"),
        ({"local": "global"}, parts.TWO, "local: is 'global', which is read already"),
        (
            {"target_view": "other"},
            {**parts.TWO, "other": {**tiny.VIEW, "crops": 2}},
            "target_view: needs 1 crop; set `views.other.crops` to 1",
        ),
    ],
)
def test_views_that_do_not_fit_are_refused(fields, views, message):
    with pytest.raises(SpecError, match=message):
        parts.run_of({**SMALL, **fields}, views=views)
