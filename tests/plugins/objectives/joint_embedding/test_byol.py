"""BYOL: what it takes from deepmind-research/byol."""

from __future__ import annotations

import pytest
import torch

from sslkit import BYOL
from sslkit.core.passes import Encode
from sslkit.errors import SpecError
from sslkit.specs.projection_head import Projection
from sslkit.train.compose import compose
from tests import tiny
from tests.plugins.objectives.joint_embedding import parts

SMALL = {"kind": "byol", "projector": parts.HEAD, "predictor": parts.HEAD}
HEADS = ("projector", "predictor", "goal_projector")


@pytest.mark.parametrize("dtype", parts.TOLERANCE, ids=str)
def test_the_loss_is_that_of_the_reference(dtype, golden):
    """Golden byol_loss: `regression_loss` of deepmind-research, the same as solo-learn's, with its gradients."""
    arrays, limit = golden("byol_loss"), parts.TOLERANCE[dtype]
    predictions = parts.pair(arrays, dtype, "p1", "p2")
    found = parts.loss_of(
        parts.bare(BYOL.example(), *HEADS), predictions, parts.pair(arrays, dtype, "z1", "z2")
    )
    found.loss.backward()
    for name in ("loss_symmetric", "deepmind_value", "solo_value"):
        assert found.loss.item() == pytest.approx(float(arrays[name]), abs=limit)
    assert found.loss.item() == pytest.approx(4 + 4 * float(arrays["lightly_value"]), abs=limit)
    expected = parts.pair(arrays, dtype, "grad_p1", "grad_p2").detach()
    torch.testing.assert_close(predictions.grad, expected, rtol=0, atol=limit)


def test_goals_get_no_gradient():
    predictions, goals = (
        parts.random(2, 5, 12).requires_grad_(),
        parts.random(2, 5, 12, seed=1).requires_grad_(),
    )
    parts.loss_of(
        parts.bare(BYOL(projector={"out": 12}, predictor={"out": 12}), *HEADS[:2]).double(),
        predictions,
        goals,
    ).loss.backward()
    assert goals.grad is None
    assert predictions.grad.abs().min() > 0


def test_with_more_crops_all_pairs_weigh_the_same():
    """Mean over the six ordered pairs, times the two directions of a pair."""
    p, z = parts.random(3, 5, 12), parts.random(3, 5, 12, seed=1)
    unit_p, unit_z = (x / x.norm(dim=-1, keepdim=True) for x in (p, z))
    losses = [2 - 2 * (unit_p[i] * unit_z[j]).sum(-1).mean() for i in range(3) for j in range(3) if i != j]
    found = parts.loss_of(parts.bare(BYOL.example(), *HEADS), p, z).loss
    assert found.item() == pytest.approx(2 * torch.stack(losses).mean().item(), abs=1e-12)


def test_defaults_are_those_of_the_reference():
    """`utils/networks.py:40-45` and `configs/byol.py:40-42`: Linear, batch norm, ReLU, Linear without bias."""
    with torch.device("meta"):
        objective = BYOL().build(parts.env(2048))
    assert objective.passes == (Encode("global"), Encode("global", net="teacher"))
    for head, inputs in ((objective.projector, 2048), (objective.predictor, 256)):
        first, norm, relu, last = head.layers
        assert first.weight.shape == (4096, inputs)
        assert first.bias is not None
        assert norm.affine
        assert norm.mode == "sync"
        assert isinstance(relu, torch.nn.ReLU)
        assert last.weight.shape == (256, 4096)
        assert last.bias is None


def test_the_averaged_head_follows_the_teacher():
    """After the optimizer, with the student's new weights; its batch norm has statistics of its own."""
    run = parts.run_of(SMALL)
    composed = compose(run, tiny.CPU)
    objective, feed = composed.system.objectives["byol"], tiny.feed(run, composed)
    start = objective.goal_projector.layers[0].weight.clone()
    assert torch.equal(start, objective.projector.layers[0].weight)
    assert not any(p.requires_grad for p in objective.goal_projector.parameters())
    composed.step(0, feed.step(0))  # at a learning rate of 0
    composed.step(1, feed.step(1))
    online, averaged = (getattr(objective, n).layers for n in ("projector", "goal_projector"))
    assert torch.allclose(averaged[0].weight, 0.9 * start + 0.1 * online[0].weight, atol=1e-7)
    assert not torch.equal(averaged[0].weight, start)
    composed.step(2, feed.step(2))
    assert averaged[1].num_batches_tracked == 6, "two crops a step, each with statistics of its own"
    assert not torch.equal(averaged[1].running_mean, online[1].running_mean)


def test_crops_go_through_the_heads_one_by_one():
    """`forward` of the reference is called for each view, so that each has statistics of its own."""
    spec = BYOL(projector=Projection(**parts.HEAD), predictor=Projection(**parts.HEAD))
    cls = torch.stack([parts.random(6, 12), 3 + parts.random(6, 12, seed=1)]).float()
    objective = spec.build(parts.env())
    both = parts.loss_of(objective, cls, cls).loss
    embedded = [objective.projector(crop) for crop in cls]
    with torch.no_grad():
        goals = [objective.goal_projector(crop) for crop in cls]
    predicted = [objective.predictor(z) for z in embedded]
    directions = [2 - 2 * torch.cosine_similarity(predicted[i], goals[1 - i]).mean() for i in (0, 1)]
    assert both.item() == pytest.approx(sum(directions).item(), rel=1e-5)


def test_without_a_predictor_there_is_none():
    objective = BYOL(predictor=None, projector=Projection(**parts.HEAD)).build(parts.env())
    assert objective.predictor is None
    assert not any("predictor" in name for name, _ in objective.named_parameters())
    assert parts.loss_of(objective, torch.randn(2, 4, 12), torch.randn(2, 4, 12)).loss.isfinite()


def test_it_learns_and_collapses_without_a_predictor():
    """The meter tells the two apart."""
    first, last, values = parts.learn(SMALL)
    assert last < first - 1
    assert values["byol/feature_std"] > 0.6
    _, last, values = parts.learn({**SMALL, "predictor": None})
    assert last < 0.5, "what is alike predicts itself"
    assert values["byol/feature_std"] < 0.3


def test_a_run_without_the_net_is_told_to_add_it():
    message = r"objective\.net: 'teacher' is not a moving average of this run\. Add it: `nets: \{teacher: \{momentum"
    with pytest.raises(SpecError, match=message):
        parts.run_of(SMALL, nets={})
    with pytest.raises(SpecError, match="'teacher' is a frozen network, not a moving average of this run"):
        parts.run_of(SMALL, nets={"teacher": {"backbone": tiny.VIT}})


def test_heads_that_do_not_fit_are_told():
    with pytest.raises(SpecError, match=r"predictor\.out: 4 differs from that of `projector`, 8"):
        parts.run_of({**SMALL, "predictor": {"hidden": 16, "out": 4}})


def test_one_crop_is_too_few():
    with pytest.raises(SpecError, match=r"needs 2 crops of view 'global'; set `views\.global\.crops` to 2"):
        compose(parts.run_of(SMALL, views={"global": tiny.VIEW}), tiny.CPU)
