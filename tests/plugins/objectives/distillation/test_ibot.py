"""iBOT against bytedance/ibot and DINOv2, and what its parts promise."""

from __future__ import annotations

import pytest
import torch

from sslkit import IBOT, BlockMasker
from sslkit.core.masker import mask_of
from sslkit.core.passes import Encode
from sslkit.errors import SpecError
from sslkit.functional.sinkhorn import sinkhorn
from sslkit.specs.load import parse
from sslkit_objectives.distillation.self_distillation import of_sum
from sslkit_objectives.distillation.teacher_centering import tallied
from tests import tiny
from tests.near import error_of
from tests.plugins.objectives.distillation.parts import DIM, HEAD, PRECISIONS, env, now, tokens

CLASS = {"start": 0.04, "end": 0.07, "epochs": 2}
PATCH = {"start": 0.04, "end": 0.06, "epochs": 2, "after": 1}
HIDDEN = torch.tensor([[3, 0, 8, 1], [5, 16, 0, 2]])
"""Patches of 16 hidden in each image of two crops."""


def small(**fields):
    return IBOT(**{"prototypes": 10, "head": HEAD, **fields})


def some_mask(counts=HIDDEN):
    places = torch.rand(*counts.shape, 16, generator=torch.Generator().manual_seed(1)).argsort(-1).argsort(-1)
    return mask_of(places < counts[..., None], None, 16)


def answers(mask):
    return [tokens(2, 16, mask=mask), tokens(2, 16, seed=1), tokens(3, 4, seed=2)]


AT = now(temperature=0.05, patch_temperature=0.06)


@pytest.mark.parametrize(("dtype", "error"), PRECISIONS)
def test_three_steps_are_ibots(golden, dtype, error):
    """bytedance/ibot@da316d82636a:main_ibot.py iBOTLoss: losses, gradients, both centers."""
    arrays = golden("ibot_loss")
    own = {"shared_head": False, "patch_prototypes": 14, "patch_weight": 0.5}
    objective = small(teacher_temperature=CLASS, patch_temperature=PATCH, **own).build(env()).to(dtype)
    terms = objective.terms
    for i, epoch in enumerate(arrays["epochs"].tolist()):
        given = {
            name: arrays[f"{name}_{i}"].to(dtype)
            for name in ("student_cls", "student_local_cls", "student_patch", "teacher_cls", "teacher_patch")
        }
        student = [given[name].requires_grad_() for name in list(given)[:3]]
        at = {name: torch.tensor(s(10 * epoch), dtype=dtype) for name, s in objective.schedules.items()}
        mask = mask_of(arrays[f"mask_{i}"].flatten(2), None, 16)
        logits = torch.cat(student[:2]).view(5, 3, 10)
        cls = objective.class_loss(at["temperature"], logits, given["teacher_cls"].view(2, 3, 10))
        said = given["teacher_patch"].view(2, 3, 16, 14)
        guess = mask.pick(student[2].view(2, 3, 16, 14))
        patch = objective.patch_loss(at["patch_temperature"], mask, guess, mask.pick(said))
        weighted = terms.class_weight * cls.loss, terms.patch_weight * patch.loss
        sum(weighted).backward()
        assert error_of(torch.stack([*weighted, sum(weighted)]), arrays[f"loss_{i}"]) <= error
        for name, value in zip(("cls", "local_cls", "patch"), student, strict=True):
            assert error_of(value.grad, arrays[f"grad_student_{name}_{i}"]) <= error, f"{name} at step {i}"
        every = {f"patch_{key}": v for key, v in tallied(said.sum((0, 1, 2)), 96).items()}
        objective.commit({**cls.carry, **every})
        assert error_of(objective.center.center[None], arrays[f"center_after_{i}"]) <= error
        assert error_of(objective.patch_center.center[None, None], arrays[f"center2_after_{i}"]) <= error


@pytest.mark.parametrize(("dtype", "error"), PRECISIONS)
def test_the_patch_loss_is_dinov2s(golden, dtype, error):
    """facebookresearch/dinov2@b8931f7bf915:dinov2/loss/ibot_patch_loss.py; an image has no mask."""
    arrays = golden("dinov2_ibot_patch_loss")
    objective = small(prototypes=12, centering="none").build(env()).to(dtype)
    mask = mask_of(arrays["mask"][None], None, 16)
    student = arrays["student"].to(dtype).requires_grad_()
    logits = arrays["teacher_probs"].to(dtype).log()  # whose softmax is the reference's
    temperature = torch.tensor(1.0, dtype=dtype)
    output = objective.patch_loss(temperature, mask, mask.pick(student[None]), mask.pick(logits[None]))
    output.loss.backward()
    assert error_of(output.loss, arrays["loss_dense"]) <= error
    assert error_of(output.loss, arrays["loss_masked"]) <= error
    assert error_of(student.grad, arrays["grad_student"]) <= error
    assert mask.mean(output.scores) == pytest.approx(output.loss.item())


@pytest.mark.parametrize("shared", [True, False])
def test_forward_is_its_definition(shared):
    """With loops over crops and images: both terms, both centers, gradients of the student only."""
    mask = some_mask()
    given = answers(mask)
    spec = small(shared_head=shared, class_weight=0.7, patch_weight=0.5)
    objective = spec.build(env()).double()
    for one in given:
        one.patch.requires_grad_()
    with torch.no_grad():
        objective.patch_center.center.copy_(torch.linspace(-0.2, 0.2, 10))
    output = objective(AT, *given)
    student, teacher = objective.student_head, objective.teacher_head
    said = teacher.patch_layer(teacher.embed(given[1].patch)).detach()
    goal = ((said - objective.patch_center.center) / 0.06).softmax(-1)
    guess = (student.patch_layer(student.embed(given[0].patch)) / 0.1).log_softmax(-1)
    errors = -(goal * guess).sum(-1)
    images = [
        (errors[v, b] * mask.hidden[v, b]).sum() / max(1, HIDDEN[v, b]) for v in range(2) for b in range(4)
    ]
    patch = torch.stack(images).mean()
    assert output.metrics["patch_loss"].item() == pytest.approx(patch.item(), abs=1e-12)
    total = 0.7 * output.metrics["class_loss"] + 0.5 * patch
    assert output.loss.item() == pytest.approx(total.item(), abs=1e-12)
    objective.commit(output.carry)
    moved = 0.9 * torch.linspace(-0.2, 0.2, 10).double() + 0.1 * said.mean((0, 1, 2))
    assert torch.allclose(objective.patch_center.center, moved, atol=1e-8)
    output.loss.backward()
    assert torch.equal(given[0].patch.grad.abs().sum(-1) > 0, mask.hidden)
    assert given[1].patch.grad is None


def test_hidden_patches_alone_move_the_center_as_in_dinov2():
    mask = some_mask()
    given = answers(mask)
    objective = small(patch_center="hidden").build(env()).double()
    objective.commit(objective(AT, *given).carry)
    said = objective.teacher_head(given[1].patch)
    assert torch.allclose(objective.patch_center.center, 0.1 * said[mask.hidden].mean(0), atol=1e-12)
    before = objective.patch_center.center.clone()
    none = some_mask(torch.zeros_like(HIDDEN))
    output = objective(AT, *answers(none))
    assert output.metrics["patch_loss"] == 0
    objective.commit(output.carry)
    assert torch.equal(objective.patch_center.center, before)


def test_the_sum_of_logits_is_the_logits_of_the_sum():
    """So that a center of all patches needs no logits of all patches; in float32 under autocast, too."""
    head = small().build(env()).teacher_head
    embedded = head.embed(torch.randn(500, DIM))
    expected = head.last_layer(embedded).double().sum(0)
    assert torch.allclose(of_sum(head.last_layer, embedded).double(), expected, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        assert of_sum(head.last_layer, embedded).dtype == torch.float32


def test_sinkhorn_assigns_the_hidden_patches_of_all_crops():
    mask = some_mask()
    given = answers(mask)
    objective = small(centering="sinkhorn").build(env()).double()
    output = objective(AT, *given)
    assert output.carry == {}
    said = objective.teacher_head(given[1].patch)[mask.hidden]
    goal = sinkhorn(said, 0.06)
    guess = (objective.student_head(given[0].patch)[mask.hidden] / 0.1).log_softmax(-1)
    each = -(goal * guess).sum(-1) / HIDDEN.flatten().repeat_interleave(HIDDEN.flatten())
    assert output.metrics["patch_loss"].item() == pytest.approx(each.sum().item() / 8, abs=1e-12)
    empty = answers(some_mask(torch.zeros_like(HIDDEN)))
    assert objective(AT, *empty).loss.isfinite()


def test_scores_are_told_to_maskers():
    mask = some_mask()
    output = small().build(env()).double()(AT, *answers(mask))
    assert output.scores.shape == mask.flat.shape
    assert mask.mean(output.scores) == pytest.approx(output.metrics["patch_loss"].item())


def test_defaults_are_the_references():
    spec = IBOT()
    assert spec.masker == BlockMasker(recipe="ibot")
    assert (spec.prototypes, spec.shared_head, spec.norm_last_layer) == (8192, True, False)
    assert (spec.class_weight, spec.patch_weight, spec.patch_center) == (1, 1, "all")
    assert (spec.teacher_temperature, spec.patch_temperature.end) == (0.04, 0.07)
    first, second, third = small().build(env()).passes
    assert first == Encode("global", mask=spec.masker, mode="token")
    assert (second, third) == (Encode("global", net="teacher"), Encode("local"))


def test_separate_heads_have_as_many_prototypes_unless_told_otherwise():
    counts = [
        (len(head.last_layer.weight_g), len(head.patch_layer.weight_g))
        for head in (
            small(shared_head=False).build(env()).student_head,
            small(shared_head=False, patch_prototypes=4).build(env()).student_head,
        )
    ]
    assert counts == [(10, 10), (10, 4)]


def test_all_last_layers_wait():
    objective = small(shared_head=False).build(env())
    for p in objective.student_head.parameters():
        p.grad = torch.ones_like(p)
    objective.before_update(9)
    kept = {name for name, p in objective.student_head.named_parameters() if p.grad is not None}
    assert kept == {f"mlp.{name}" for name, _ in objective.student_head.mlp.named_parameters()}


def test_prototypes_of_patches_need_a_head_of_their_own():
    views = {"global": {**tiny.VIEW, "crops": 2}}
    objective = {"kind": "ibot", "local": None, "patch_prototypes": 4}
    with pytest.raises(SpecError, match=r"patch_prototypes: goes with `shared_head: false`"):
        parse(tiny.fields(objective=objective, views=views, nets={"teacher": {}}))
