"""Any teacher into any student."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from sslkit.errors import SpecError
from sslkit.functional.patch_maps import resample_patches
from sslkit.functional.queue_similarity import queue_similarity
from sslkit.train.compose import compose
from tests import tiny

TEACHER = {"teacher": {"backbone": {**tiny.VIT, "width": 24, "depth": 1}}}
CNN = {"kind": "cnn", "name": "test_resnet", "stem": "cifar"}
VIEW = {**tiny.VIEW, "size": 16, "crops": 2}
QUEUE = {"form": "queue", "queue": 32, "layers": 2}


def run_of(term, **changes):
    parts = {"nets": TEACHER, "backbone": CNN, "views": {"global": VIEW}, "batch_size": 8}
    return tiny.spec(**{"objective": {"kind": "distill", **term}, **parts, **changes})


def first(run):
    """The objective, the answers of student and teacher, and the losses of the first step."""
    composed = compose(run, tiny.CPU)
    (batch,) = tiny.feed(run, composed).step(0)
    answers = composed.system.objective_tokens("distill", composed.step.encode(batch, 0))
    objective = copy.deepcopy(composed.system.objectives["distill"])
    return objective, answers, composed.step(0, [batch]).values


def pooled(tokens, which):
    return {"class": tokens.cls, "mean": tokens.patch.mean(2)}[which]


@pytest.mark.parametrize("tokens", ["class", "mean"])
def test_whole_images_by_cosine(tokens):
    objective, (student, teacher), values = first(run_of({"tokens": tokens}))
    guess = objective.projector(pooled(student, tokens))
    assert guess.shape == teacher.cls.shape == (2, 8, 24)
    cosine = F.cosine_similarity(guess, pooled(teacher, tokens), dim=-1).mean().detach()
    torch.testing.assert_close(values["loss/distill"], 1 - cosine, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(values["distill/cosine"], cosine, rtol=1e-4, atol=1e-5)


def test_patches_of_a_vision_transformer_on_the_map_of_a_cnn():
    objective, (student, teacher), values = first(run_of({"tokens": "patch", "form": "mse"}))
    grid = (objective.sides, objective.teacher_sides)
    assert grid[0] != grid[1] == (4, 4)
    goal = resample_patches(teacher.patch, grid[1], grid[0], "bilinear", antialias=True)
    expected = (objective.projector(student.patch) - goal).square().mean().detach()
    torch.testing.assert_close(values["loss/distill"], expected, rtol=1e-4, atol=1e-5)


def test_whitened_goals_have_mean_0_and_deviation_1():
    objective, (_, teacher), _ = first(run_of({"form": "mse", "whiten": True}))
    goal = objective._goal(teacher)
    torch.testing.assert_close(goal.mean(-1), torch.zeros(2, 8), atol=1e-5, rtol=0)
    torch.testing.assert_close(goal.std(-1, correction=0), torch.ones(2, 8), atol=1e-2, rtol=0)


def test_similarities_to_the_queue_and_what_goes_into_it():
    objective, (student, teacher), values = first(run_of(QUEUE))
    queue = objective.queue().clone()
    guess = objective.projector(student.cls)
    expected = queue_similarity(guess, teacher.cls, queue, 0.2, 0.01).mean().detach()
    torch.testing.assert_close(values["loss/distill"], expected, rtol=1e-4, atol=1e-5)
    objective.commit(objective({}, student, teacher).carry)
    rows = F.normalize(teacher.cls, dim=-1).flatten(0, 1)
    torch.testing.assert_close(objective.queue()[:16], rows)
    assert torch.equal(objective.queue()[16:], queue[16:])


def test_the_teacher_may_see_the_same_crops_larger():
    views = {"global": VIEW, "large": {**VIEW, "size": 32, "crops_like": "global"}}
    objective, (student, teacher), _ = first(
        run_of({"tokens": "patch", "teacher_view": "large"}, views=views)
    )
    assert (student.image.shape[-1], teacher.image.shape[-1]) == (16, 32)
    assert objective.teacher_sides == (8, 8)


def test_without_a_projector_widths_must_be_equal():
    with pytest.raises(SpecError, match=r"tokens have width \d+ and those of net 'teacher' 24; let `layers`"):
        compose(run_of({"layers": 0}), tiny.CPU)
    alike = {"teacher": {"backbone": tiny.VIT}}
    composed = compose(run_of({"layers": 0}, nets=alike, backbone=tiny.VIT), tiny.CPU)
    assert not list(composed.system.objectives.parameters())


@pytest.mark.parametrize("term", [{}, {"tokens": "patch", "form": "mse"}])
def test_a_small_cnn_learns_from_a_vision_transformer(term):
    run = run_of(term, optimizer={"lr": 0.02}, steps=12)
    losses = tiny.steps(run, 12)[1]
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])


def test_several_teachers_are_several_terms():
    nets = {**TEACHER, "other": {"backbone": CNN}}
    terms = {"one": {"kind": "distill"}, "two": {"kind": "distill", "net": "other", "tokens": "patch"}}
    run = run_of({}, nets=nets, objective=None, objectives=terms)
    composed = compose(run, tiny.CPU)
    assert len(composed.system.plan) == 3, "the student sees its crops once"
    values = composed.step(0, tiny.feed(run, composed).step(0)).values
    assert values["loss/one"] != values["loss/two"]


def test_it_resumes_bit_equal():
    run = run_of(QUEUE)
    whole, _ = tiny.steps(run, 4)
    half, _ = tiny.steps(run, 2)
    resumed = compose(run, tiny.CPU)
    resumed.step.load_state_dict(copy.deepcopy(half.step.state_dict()))
    feed = tiny.feed(run, resumed)
    for step in (2, 3):
        resumed.step(step, feed.step(step))
    assert tiny.same(whole, resumed)


@pytest.mark.parametrize(
    ("term", "message"),
    [
        ({"net": "student"}, "net: the student cannot teach itself"),
        ({"form": "queue", "tokens": "patch", "queue": 64}, "tokens: a queue compares whole images"),
        ({"form": "queue", "queue": 8}, "queue: 8 places do not hold the 16 embeddings of one step"),
        ({"queue": 64}, "queue: is for `form: queue`, found 'cosine'"),
        ({"resample": "bicubic"}, "resample: is for `tokens: patch`"),
        ({"hidden": 8}, "hidden: is for 2 `layers`"),
        ({"teacher_view": "other"}, "'other' is not a view"),
    ],
)
def test_what_cannot_be_is_refused(term, message):
    with pytest.raises(SpecError, match=message):
        run_of(term)
