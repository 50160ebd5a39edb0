"""iBOT's patch term on its own, and iBOT rebuilt of two terms with heads of their own."""

from __future__ import annotations

import pytest
import torch

from sslkit import DINO, IBOT, BernoulliMasker, MaskedDistillation
from sslkit.core.masker import make_mask
from sslkit.core.random_stream import Draw
from sslkit.errors import SpecError
from sslkit.train.compose import compose
from sslkit_objectives.specs.distillation_parts import Perceptron
from tests import tiny
from tests.masks import UNSEEN
from tests.plugins.objectives.distillation import parts

MASKER = BernoulliMasker(ratio=0.4)
HEAD = Perceptron(**parts.HEAD)
SHARED = {"prototypes": 12, "head": HEAD, "norm_last_layer": False}
TERM = {"kind": "masked_distillation", "prototypes": 12, "head": parts.HEAD}
CROPS = {"global": {**tiny.VIEW, "crops": 2}, "local": {**tiny.VIEW, "size": 4, "crops": 2}}
TEACHER = {"teacher": {"momentum": 0.9}}


def answers():
    """Student (masked), teacher, student on local crops, as `ibot` asks for them."""
    env = parts.env()
    mask = make_mask(MASKER.build(env, "global"), Draw(3, torch.arange(8).reshape(2, 4)), UNSEEN)
    return (parts.tokens(2, 16, mask=mask, seed=1), parts.tokens(2, 16, seed=2), parts.tokens(3, 4, seed=3))


def same_weights(target, source) -> None:
    """Put what `source` has into `target`, head by head, the patches' last layer included."""
    for name in ("student_head", "teacher_head"):
        ours, theirs = getattr(target, name), getattr(source, name)
        ours.mlp.load_state_dict(theirs.mlp.state_dict())
        ours.last_layer.load_state_dict(theirs.patch_layer.state_dict())


def rebuilt(shared: bool):
    """`ibot`, and the two terms that it is made of with its weights."""
    env = parts.env()
    torch.manual_seed(0)
    own = {"shared_head": shared, **({} if shared else {"patch_prototypes": 10})}
    whole = IBOT(masker=MASKER, patch_temperature=0.07, **SHARED, **own).build(env).double()
    cls = DINO(masker=MASKER, **SHARED).build(env).double()
    patch = MaskedDistillation(
        masker=MASKER, teacher_temperature=0.07, **{**SHARED, "prototypes": 12 if shared else 10}
    )
    patch = patch.build(env).double()
    same_weights(patch, whole)
    for name in ("student_head", "teacher_head"):
        getattr(cls, name).mlp.load_state_dict(getattr(whole, name).mlp.state_dict())
        getattr(cls, name).last_layer.load_state_dict(getattr(whole, name).last_layer.state_dict())
    return whole, cls, patch


@pytest.mark.parametrize("shared", [True, False])
def test_dino_and_masked_distillation_are_ibot(shared):
    """Loss and gradient on the tokens, then again with the centers that the first step moved."""
    whole, cls, patch = rebuilt(shared)
    assert whole.passes == (*cls.passes[:2], cls.passes[2])
    assert patch.passes == whole.passes[:2]
    for _ in range(2):
        losses, slopes = [], []
        for parted in (False, True):
            tokens = [
                t._replace(cls=t.cls.requires_grad_(), patch=t.patch.requires_grad_()) for t in answers()
            ]
            now = parts.now(temperature=0.04, patch_temperature=0.07)
            if parted:
                made = cls(now, *tokens), patch(now, *tokens[:2])
                loss = made[0].loss + made[1].loss
                cls.commit(made[0].carry)
                patch.commit(made[1].carry)
            else:
                output = whole(now, *tokens)
                loss = output.loss
                whole.commit(output.carry)
            loss.backward()
            losses.append(loss.detach())
            slopes.append([tokens[0].cls.grad, tokens[0].patch.grad, tokens[2].cls.grad])
        torch.testing.assert_close(losses[0], losses[1], rtol=1e-12, atol=0)
        for ours, theirs in zip(*slopes, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(whole.center.center, cls.center.center)
    torch.testing.assert_close(whole.patch_center.center, patch.patch_center.center)
    assert whole.center.center.any()


def test_the_terms_share_all_passes_of_ibot():
    masker = {"kind": "bernoulli", "ratio": 0.4}
    objectives = {"cls": {"kind": "dino", "masker": masker, **{k: TERM[k] for k in ("prototypes", "head")}}}
    objectives["patch"] = {**TERM, "masker": masker}
    run = tiny.spec(objective=None, objectives=objectives, views=CROPS, nets=TEACHER, batch_size=8)
    composed = compose(run, tiny.CPU)
    assert [(p.net, p.view, p.mask is not None, p.mode) for p in composed.system.plan] == [
        ("student", "global", True, "token"),
        ("teacher", "global", False, "drop"),
        ("student", "local", False, "drop"),
    ]
    assert len(composed.system.late.runs) == 3


def test_it_is_the_patch_loss_alone_and_tells_maskers_of_it():
    _, _, patch = rebuilt(shared=True)
    student, teacher, _ = answers()
    output = patch(parts.now(patch_temperature=0.07), student, teacher)
    assert output.metrics.keys() == {"patch_teacher_entropy", "feature_std"}
    assert output.carry.keys() == {"patch_sum", "patch_count"}
    torch.testing.assert_close(student.mask.mean(output.scores), output.loss.detach())
    assert patch.schedules.keys() == {"patch_temperature"}


def test_it_needs_one_crop_only_and_trains_everything():
    run = tiny.spec(objective={**TERM, "masker": {"kind": "random", "ratio": 0.5}}, nets=TEACHER)
    _, losses = tiny.steps(run, 4)
    assert len(set(losses)) == 4


def test_prototypes_wait_for_an_epoch():
    run = tiny.spec(objective={**TERM, "masker": {"kind": "random", "ratio": 0.5}}, nets=TEACHER)
    composed = compose(run, tiny.CPU)
    head = composed.system.objectives["masked_distillation"].student_head
    before = {name: p.detach().clone() for name, p in head.named_parameters()}
    feed = tiny.feed(run, composed)
    for step in range(2):  # the first one is at a rate of 0
        composed.step(step, feed.step(step))
    moved = {name for name, p in head.named_parameters() if not torch.equal(p, before[name])}
    assert moved
    assert not [name for name in moved if name.startswith("last_layer")]


@pytest.mark.parametrize(
    ("fields", "nets", "message"),
    [
        ({"view": "nowhere"}, TEACHER, "objective.view: 'nowhere' is not a view of this run"),
        ({}, {}, "objective.teacher: 'teacher' is not a moving average of this run. Add it"),
        ({"prototypes": 0}, TEACHER, "objective.prototypes"),
    ],
)
def test_what_cannot_be_is_refused(fields, nets, message):
    with pytest.raises(SpecError, match=message):
        tiny.spec(objective={**TERM, **fields}, nets=nets)


def test_a_masked_dino_reads_the_class_token_of_masked_crops():
    """Not DINO's own recipe: what `masker` hides changes the student's pass and nothing else."""
    plain, masked = (DINO(masker=m, **SHARED).build(parts.env()) for m in (None, MASKER))
    assert plain.passes[1:] == masked.passes[1:]
    assert (masked.passes[0].mask, masked.passes[0].mode) == (MASKER, "token")
    assert plain.passes[0].mask is None
