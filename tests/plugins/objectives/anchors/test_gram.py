"""Gram anchoring in runs."""

from __future__ import annotations

import pytest
import torch

from sslkit.errors import SpecError
from sslkit.functional.patch_maps import resample_patches
from sslkit.functional.patch_similarity import gram_loss, patch_similarity
from sslkit.specs.load import parse
from sslkit.train.compose import compose
from tests import tiny

HALF = {"kind": "random", "ratio": 0.5}
MIM = {"kind": "simmim", "masker": HALF}
COPY = {"gram": {"refresh": "never"}}
LARGE = {**tiny.VIEW, "size": 16, "crops": 2}
SMALL = {**tiny.VIEW, "crops": 2}


def run_of(term, **changes):
    objectives = {"mim": MIM, "gram": {"kind": "gram", **term}}
    return tiny.spec(objective=None, objectives=objectives, **{"batch_size": 8, "nets": COPY, **changes})


def first(run):
    """The parts, the answers to the first batch, and the losses of the first step."""
    composed = compose(run, tiny.CPU)
    (batch,) = tiny.feed(run, composed).step(0)
    tokens = composed.system.objective_tokens("gram", composed.step.encode(batch, 0))
    return composed, tokens, composed.step(0, [batch]).values


def test_it_is_its_function_of_the_patches_of_both_nets():
    """After a step the nets differ."""
    run = run_of({})
    composed, _ = tiny.steps(run, 2)
    (batch,) = tiny.feed(run, composed).step(2)
    student, teacher = composed.system.objective_tokens("gram", composed.step.encode(batch, 2))
    values = composed.step(2, [batch]).values
    expected = gram_loss(student.patch, teacher.patch).mean().detach()
    assert expected > 1e-6
    torch.testing.assert_close(values["loss/gram"], expected, rtol=1e-4, atol=1e-8)
    for name, net in (("similarity", student), ("teacher_similarity", teacher)):
        torch.testing.assert_close(values[f"gram/{name}"], patch_similarity(net.patch).mean().detach())


def test_before_the_first_step_a_copy_is_the_student():
    _, _, values = first(run_of({}))
    assert values["loss/gram"] < 1e-10


def test_it_reads_the_masked_pass_of_another_term():
    composed, (student, teacher), values = first(run_of({"masker": HALF}))
    assert len(composed.system.plan) == 2, "the student's masked pass and the teacher's"
    assert student.mask is not None
    assert teacher.mask is None
    torch.testing.assert_close(values["loss/gram"], gram_loss(student.patch, teacher.patch).mean().detach())


@pytest.mark.parametrize("image_level", [True, False])
def test_options_are_those_of_the_function(image_level):
    options = {"normalized": False, "remove_negative": True}
    _, (student, teacher), values = first(run_of({"masker": HALF, "image_level": image_level, **options}))
    ours, goal = (x.patch if image_level else x.patch.flatten(0, 2) for x in (student, teacher))
    torch.testing.assert_close(values["loss/gram"], gram_loss(ours, goal, **options).mean().detach())


def test_the_teacher_may_see_the_same_crops_larger():
    views = {"global": SMALL, "large": {**LARGE, "crops_like": "global"}}
    run = run_of({"teacher_view": "large", "masker": HALF}, views=views)
    _, (student, teacher), values = first(run)
    assert (student.patch.shape[2], teacher.patch.shape[2]) == (4, 16)
    goal = resample_patches(teacher.patch, (4, 4), (2, 2), "bicubic")
    torch.testing.assert_close(values["loss/gram"], gram_loss(student.patch, goal).mean().detach())


def test_a_network_of_another_kind_may_be_followed():
    cnn = {"backbone": {"kind": "cnn", "name": "test_resnet", "stem": "cifar"}}
    view = {**tiny.VIEW, "size": 16}
    _, (student, teacher), values = first(run_of({}, nets={"gram": cnn}, views={"global": view}))
    assert student.patch.shape[2:] != teacher.patch.shape[2:]
    assert values["loss/gram"].isfinite()


def test_training_with_it_keeps_similarities():
    """The distance after 15 steps at a large rate, with the term and with next to none."""
    left = {}
    for weight in (1e-9, 20.0):
        run = run_of({"weight": weight}, optimizer={"lr": 0.05}, steps=15)
        composed = compose(run, tiny.CPU)
        feed = tiny.feed(run, composed)
        losses = [composed.step(i, feed.step(i)).values["loss/gram"] for i in range(15)]
        left[weight] = torch.stack(losses[-5:]).mean()
    assert left[20.0] < 0.5 * left[1e-9]


def test_micro_batches_change_nothing_where_images_are_compared():
    runs = [run_of({"masker": HALF, "image_level": False}, micro_batch_size=size) for size in (8, 4)]
    whole, parts = (tiny.steps(run, 3)[1] for run in runs)
    assert whole == pytest.approx(parts, rel=1e-4)


@pytest.mark.parametrize(
    ("term", "changes", "message"),
    [
        ({"remove_negative": True, "only_teacher_negative": True}, {}, "goes without `remove_negative`"),
        ({"net": "student"}, {}, "objectives.gram.net: 'student' is not a net"),
        ({}, {"nets": {}}, r"Add it: `nets: \{gram: \{refresh: never\}\}`, a copy of the first weights"),
        (
            {"teacher_view": "large"},
            {"views": {"global": SMALL, "large": LARGE}},
            "teacher_view: shows other crops than 'global'; set `views.large.crops_like` to 'global'",
        ),
        (
            {"teacher_view": "large"},
            {"views": {"global": SMALL, "large": {**LARGE, "crops": 1, "crops_like": "global"}}},
            "teacher_view: has 1 crops and 'global' has 2",
        ),
    ],
)
def test_what_cannot_be_is_refused(term, changes, message):
    fields = {"objectives": {"gram": {"kind": "gram", **term}}, "nets": COPY, **changes}
    with pytest.raises(SpecError, match=message):
        parse(tiny.fields(objective=None, **fields))
