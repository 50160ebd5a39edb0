"""Prediction of rotations: what it takes from gidariss/FeatureLearningRotNet."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from sslkit import Rotation
from sslkit.core.passes import Encode
from sslkit.errors import SpecError
from tests import tiny
from tests.plugins.objectives.joint_embedding import parts

TURNED = [[{"kind": "turn", "quarters": n}] for n in range(4)]


def views(*lists, crops=None):
    view = {key: value for key, value in tiny.VIEW.items() if key != "augment"}
    return {"global": {**view, "crops": crops or len(lists), "by_crop": list(lists)}}


def rotation_run(**changes):
    fields = {"views": views(*TURNED), "nets": {}, "steps": 40, **changes}
    return parts.run_of({"kind": "rotation", **fields.pop("objective", {})}, **fields)


def test_the_loss_is_the_cross_entropy_of_the_crops_turns():
    """`algorithms/ClassificationModel.py`: mean over all four copies of each image."""
    turns = (3, 0, 2, 2)
    objective = Rotation(turns=turns).build(parts.env()).double()
    cls = parts.random(4, 5, 12).requires_grad_()
    logits = objective.head(cls).flatten(0, 1)
    labels = torch.tensor(turns).repeat_interleave(5)
    expected = F.cross_entropy(logits, labels)
    wanted = torch.autograd.grad(expected, cls, retain_graph=True)[0]
    found = parts.loss_of(objective, cls)
    assert found.loss.item() == pytest.approx(expected.item(), abs=1e-12)
    torch.testing.assert_close(torch.autograd.grad(found.loss, cls)[0], wanted, rtol=0, atol=1e-12)
    assert found.metrics["accuracy"].item() == pytest.approx(
        (logits.argmax(1) == labels).double().mean().item()
    )


def test_defaults_are_those_of_the_reference():
    objective = Rotation().build(parts.env())
    assert objective.passes == (Encode("global"),)
    assert objective.crops == {"global": 4}
    assert objective.labels.tolist() == [0, 1, 2, 3]
    assert objective.head.weight.shape == (4, 12)


def test_features_of_several_turns_count_together():
    """Features that only tell the turn apart, as training wants them, are no collapse."""
    ends = F.one_hot(torch.arange(4), 12).float()[:, None].expand(-1, 6, -1)
    told = parts.loss_of(Rotation().build(parts.env()), ends).metrics["feature_std"]
    assert told.item() > 0.4
    same = parts.loss_of(Rotation().build(parts.env()), torch.ones(4, 6, 12)).metrics["feature_std"]
    assert same.item() == pytest.approx(0, abs=1e-6)


def test_the_view_turns_the_crops():
    run = rotation_run()
    composed, _ = tiny.steps(run, 0)
    image = next(tiny.feed(run, composed).step(0)).images["global"]
    for quarters in range(4):
        torch.testing.assert_close(image[quarters], torch.rot90(image[0], quarters, (-2, -1)))


def test_it_learns_to_tell_turns_of_digits():
    first, last, values = parts.learn({"kind": "rotation"}, views=views(*TURNED), nets={})
    assert first == pytest.approx(math.log(4), abs=0.3)
    assert last < math.log(4) - 0.4
    assert values["rotation/accuracy"] > 0.4


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (views(*TURNED[::-1]), "[3, 2, 1, 0]"),
        (views(*TURNED[:2]), "[0, 1]"),
        (views(*TURNED, crops=5), "[0, 1, 2, 3, 0]"),
        ({"global": {**tiny.VIEW, "crops": 4}}, "[0, 0, 0, 0]"),
        (views(*TURNED[:3], [*TURNED[2], *TURNED[3]]), "[0, 1, 2, 1]"),
    ],
    ids=["order", "few", "many", "none", "twice"],
)
def test_a_view_that_turns_otherwise_is_told_what_to_set(given, found):
    with pytest.raises(SpecError) as error:
        rotation_run(views=given)
    text = str(error.value)
    assert f"turns: are [0, 1, 2, 3], but view 'global' turns its crops by {found}" in text
    assert "set `views.global.crops` to 4 and its `by_crop` to [[..., {kind: turn, quarters: 0}]" in text


def test_other_turns_than_four_can_be_had():
    run = rotation_run(views=views(TURNED[0], TURNED[2]), objective={"turns": [0, 2]}, steps=2)
    _, losses = tiny.steps(run, 2)
    assert all(math.isfinite(loss) for loss in losses)


@pytest.mark.parametrize("turns", [[0], [0, 4], [-1, 0]], ids=str)
def test_turns_are_quarters_of_several_crops(turns):
    with pytest.raises(SpecError, match="turns"):
        Rotation(turns=turns)


def test_an_unknown_view_is_named():
    with pytest.raises(SpecError, match=r"view: 'small' is not a view of this run\. Known: global"):
        rotation_run(objective={"view": "small"})
