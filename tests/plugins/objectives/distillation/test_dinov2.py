"""DINOv2's composition against facebookresearch/dinov2@b8931f7bf915:dinov2/train/ssl_meta_arch.py, and in runs."""

from __future__ import annotations

import copy

import pytest
import torch

from sslkit import IBOT, BlockMasker, DINOv2
from sslkit.core.masker import mask_of
from sslkit.errors import SpecError
from sslkit.specs.load import parse
from sslkit.train.compose import compose
from sslkit_objectives.distillation.self_distillation import apart
from tests import tiny
from tests.near import error_of
from tests.plugins.objectives.distillation.parts import HEAD, PRECISIONS, env

PREFIX = {"centering_shared": "head_dino", "sinkhorn_separate": "head_ibot"}
CROPS = {"global": {**tiny.VIEW, "crops": 2}, "local": {**tiny.VIEW, "size": 4, "crops": 2}}
MASKER = {"kind": "bernoulli", "ratio": 0.4}
SMALL = {"kind": "dinov2", "prototypes": 12, "head": HEAD, "masker": MASKER}
TEACHER = {"teacher": {"momentum": 0.9}}


def objectives(case, dtype):
    """What has the class term, and what has the patch term."""
    at = {"prototypes": 8, "head": HEAD}
    if case == "centering_shared":
        both = IBOT(centering="center", patch_center="hidden", koleo=0.1, **at).build(env()).to(dtype)
        return both, both
    members = DINOv2(**at).combined().objectives
    return tuple(members[name].build(env()).to(dtype) for name in ("dino", "ibot"))


@pytest.mark.parametrize(("dtype", "error"), PRECISIONS)
@pytest.mark.parametrize("case", PREFIX)
def test_terms_total_and_gradients_are_dinov2s(golden, case, dtype, error):
    """Stand-in heads; teacher temperature 0.07. KoLeo and the patch term are logged halved there."""
    arrays = {
        k: v.to(dtype) if v.is_floating_point() else v for k, v in golden("dinov2_losses_composed").items()
    }
    cls, patch = objectives(case, dtype)
    if case == "centering_shared":
        cls.center.center.copy_(arrays["center_cls_before"][0])
        patch.patch_center.center.copy_(arrays["center_patch_before"][0, 0])
    names = ("student_cls_global", "student_cls_local", "student_patches")
    large, local, patches = (arrays[name].clone().requires_grad_() for name in names)
    temperature = torch.tensor(0.07, dtype=dtype)
    head = arrays["head_dino"].T
    student = (torch.cat([large, local]) @ head).view(6, 3, 8)
    mask = mask_of(arrays["masks"].view(2, 3, 9), None, 9)
    patch_head = arrays[PREFIX[case]].T
    goal = (arrays["teacher_patches"] @ patch_head).view(2, 3, 9, 8)
    guess = mask.pick((patches @ patch_head).view(2, 3, 9, 8))
    class_term = cls.class_loss(temperature, student, (arrays["teacher_cls"] @ head).view(2, 3, 8))
    patch_term = patch.patch_loss(temperature, mask, guess, mask.pick(goal))
    spread = cls.terms.koleo * apart(large.view(2, 3, 6))
    total = class_term.loss + spread + patch.terms.patch_weight * patch_term.loss
    total.backward()
    logged = {
        name: arrays[f"term_{case}.{name}_loss"]
        for name in ("dino_local_crops", "dino_global_crops", "koleo", "ibot")
    }
    assert error_of(class_term.loss, logged["dino_local_crops"] + logged["dino_global_crops"]) <= error
    assert error_of(spread, 2 * logged["koleo"]) <= error
    assert error_of(patch_term.loss, 2 * logged["ibot"]) <= error
    assert error_of(total, arrays[f"total_{case}"]) <= error
    for name, value in zip(("cls_global", "cls_local", "patches"), (large, local, patches), strict=True):
        assert error_of(value.grad, arrays[f"grad_{name}_{case}"]) <= error, name


def test_members_are_dino_and_the_patch_term_on_the_same_passes():
    members = DINOv2(prototypes=12, patch_prototypes=7, patch_weight=0.5, head=HEAD).combined().objectives
    assert list(members) == ["dino", "ibot"]
    assert (members["dino"].prototypes, members["ibot"].prototypes) == (12, 7)
    assert (members["dino"].koleo, members["ibot"].weight) == (0.1, 0.5)
    assert members["dino"].masker == members["ibot"].masker == BlockMasker(recipe="dinov2")
    cls, patch = (members[name].build(env()) for name in members)
    assert patch.passes == cls.passes[:2]
    assert {member.centering for member in members.values()} == {"sinkhorn"}


def test_defaults_are_those_of_the_reference():
    """`configs/ssl_default_config.yaml`; Sinkhorn-Knopp and separate heads of `configs/train/vitl14.yaml`."""
    spec = DINOv2()
    assert (spec.prototypes, spec.patch_prototypes, spec.koleo, spec.patch_weight) == (65536, None, 0.1, 1.0)
    assert (spec.head.layers, spec.head.hidden, spec.head.bottleneck) == (3, 2048, 256)
    assert spec.teacher_temperature.at(0, 100) == 0.04
    assert spec.teacher_temperature.at(30 * 100, 100) == 0.07
    assert spec.teacher_temperature.at(1500, 100) == pytest.approx(0.04 + 0.03 * 1500 / 2999)


def run_of(**changes):
    fields = {"objective": SMALL, "views": CROPS, "nets": TEACHER, "batch_size": 8}
    return parse(tiny.fields(**{**fields, **changes}))


def test_a_run_has_three_passes_both_terms_and_meters_of_collapse():
    run = run_of()
    composed = compose(run, tiny.CPU)
    assert len(composed.system.plan) == 3, "masked global crops, the teacher's, local crops"
    done = composed.step(0, tiny.feed(run, composed).step(0))
    wanted = {
        "loss/dino",
        "loss/ibot",
        "dino/koleo",
        "dino/teacher_entropy_share",
        "ibot/patch_teacher_entropy",
    }
    assert wanted <= set(done.values)
    assert done.total.item() == pytest.approx(
        (done.values["loss/dino"] + done.values["loss/ibot"]).item(), rel=1e-5
    )


def test_a_resumed_run_ends_bit_equal():
    run = run_of(steps=3, objective={**SMALL, "centering": "center"})
    whole = compose(run, tiny.CPU)
    feed = tiny.feed(run, whole)
    whole.step(0, feed.step(0))
    saved = copy.deepcopy(whole.step.state_dict())
    totals = [whole.step(step, feed.step(step)).total for step in (1, 2)]
    resumed = compose(run, tiny.CPU)
    resumed.step.load_state_dict(saved)
    again = [resumed.step(step, feed.step(step)).total for step in (1, 2)]
    assert torch.equal(torch.stack(again), torch.stack(totals))
    assert tiny.same(whole, resumed)


def test_it_may_be_a_term_of_another_hybrid():
    mae = {"kind": "mae", "masker": {"kind": "random", "ratio": 0.5}, "decoder": tiny.DECODER}
    run = run_of(objective=None, objectives={"distil": SMALL, "mae": mae})
    composed = compose(run, tiny.CPU)
    done = composed.step(0, tiny.feed(run, composed).step(0))
    assert {"loss/distil/dino", "loss/distil/ibot", "loss/mae"} <= set(done.values)
    assert done.total.isfinite()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": {**SMALL, "local": "global"}}, "objective.local: is 'global', as `view` is"),
        ({"nets": {}}, "teacher"),
        ({"views": {"global": tiny.VIEW, "local": CROPS["local"]}}, "objective.view: needs at least 2 crops"),
        ({"objective": {**SMALL, "weight": 2.0}}, "objective.weight: is for the terms of a hybrid"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(changes, message):
    with pytest.raises(SpecError, match=message):
        run_of(**changes)


def test_it_has_no_module_of_its_own():
    with pytest.raises(SpecError, match="is a hybrid and no module of its own"):
        DINOv2().build(env())
