"""A backbone that stays as it is in the first steps, and the rate of its patch embedding."""

from __future__ import annotations

import copy

import pytest
import torch

from sslkit.errors import SpecError
from sslkit.train.compose import compose
from tests import tiny

CLIPPED = {"clip": 1.0}


def run_of(optimizer, **changes):
    return tiny.spec(optimizer={"lr": 0.01, **optimizer}, **{"batch_size": 8, **changes})


def state_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def moved(before, module):
    return [name for name, value in module.state_dict().items() if not torch.equal(before[name], value)]


@pytest.mark.parametrize("optimizer", [{}, CLIPPED, {"name": "lars"}, {"layer_decay": 0.5}])
def test_heads_learn_first(optimizer):
    run = run_of({"freeze_steps": 2, **optimizer}, schedule={"warmup_epochs": 0})
    composed = compose(run, tiny.CPU)
    student, heads = composed.system.nets["student"], composed.system.objectives
    feed = tiny.feed(run, composed)
    for step in range(2):
        before = state_of(student), state_of(heads)
        composed.step(step, feed.step(step))
        assert moved(before[0], student) == []
        assert moved(before[1], heads)
    start = state_of(student)
    composed.step(2, feed.step(2))
    assert len(moved(start, student)) > 10


def test_a_run_that_is_resumed_while_it_is_frozen_goes_on_as_it_would_have():
    run = run_of({"freeze_steps": 2}, schedule={"warmup_epochs": 0})
    whole, _ = tiny.steps(run, 4)
    for cut in (1, 3):
        half, _ = tiny.steps(run, cut)
        resumed = compose(run, tiny.CPU)
        resumed.step.load_state_dict(copy.deepcopy(half.step.state_dict()))
        feed = tiny.feed(run, resumed)
        for step in range(cut, 4):
            resumed.step(step, feed.step(step))
        assert tiny.same(whole, resumed)


def test_a_moving_average_of_a_frozen_backbone_stands_still():
    teacher = {"momentum": 0.5}
    run = run_of({"freeze_steps": 2}, nets={"teacher": teacher}, schedule={"warmup_epochs": 0})
    composed, _ = tiny.steps(run, 2)
    average, student = (state_of(composed.system.nets[name]) for name in ("teacher", "student"))
    assert all(torch.equal(student[name], value) for name, value in average.items())


def test_a_backbone_that_would_never_train_is_refused():
    with pytest.raises(SpecError, match=r"optimizer\.freeze_steps: 8 of 8 steps: the backbone would never"):
        run_of({"freeze_steps": 8})


def test_nothing_to_train_beside_the_backbone_is_refused():
    run = run_of({"freeze_steps": 2}, objective={"kind": "koleo"})
    with pytest.raises(SpecError, match=r"optimizer\.freeze_steps: no objective has anything to train"):
        compose(run, tiny.CPU)


def test_the_patch_embedding_has_its_share_of_the_rate():
    run = run_of({"patch_embed_rate": 0.2, "layer_decay": 0.5}, schedule={"warmup_epochs": 0})
    composed = compose(run, tiny.CPU)
    names = {id(p): name for name, p in composed.system.named_parameters()}
    scales = {
        names[id(p)]: group["lr_scale"]
        for group in composed.step.optimizer.param_groups
        for p in group["params"]
    }
    embedding = {name: scale for name, scale in scales.items() if "patch_embed" in name}
    assert set(embedding.values()) == {0.2 * 0.5**3}, "layer 0 of a network of two blocks"
    assert len(embedding) == 2
    assert scales["nets.student.net.cls_token"] == 0.5**3


def test_a_rate_of_0_freezes_it():
    run = run_of({"patch_embed_rate": 0.0}, schedule={"warmup_epochs": 0})
    composed = compose(run, tiny.CPU)
    before = state_of(composed.system.nets["student"])
    feed = tiny.feed(run, composed)
    composed.step(0, feed.step(0))
    still = before.keys() - set(moved(before, composed.system.nets["student"]))
    assert {name for name in before if "patch_embed" in name} <= still


def test_a_backbone_without_a_patch_embedding_is_named():
    run = run_of(
        {"patch_embed_rate": 0.2},
        backbone={"kind": "cnn", "name": "test_resnet"},
        objective={"kind": "barlow_twins", "projector": {"hidden": 16, "out": 8}},
        views={"global": {**tiny.VIEW, "size": 32, "crops": 2}},
    )
    with pytest.raises(SpecError, match=r"optimizer\.patch_embed_rate: CNNBackbone has no parameter"):
        compose(run, tiny.CPU)
