"""DINO against facebookresearch/dino, and what its parts promise."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from sslkit import DINO
from sslkit.core.passes import Encode
from sslkit.errors import SpecError
from sslkit.functional.koleo import koleo
from sslkit.specs.load import parse
from tests import tiny
from tests.near import error_of
from tests.plugins.objectives.distillation.parts import DIM, HEAD, PRECISIONS, env, now, tokens

WARMUP = {"start": 0.04, "end": 0.07, "epochs": 3}


def small(**fields):
    return DINO(**{"prototypes": 12, "head": HEAD, **fields})


def answers(seed=0):
    """Student on two global crops, teacher on them, student on three local ones."""
    return [tokens(2, 16, seed=seed), tokens(2, 16, seed=seed + 1), tokens(3, 4, seed=seed + 2)]


@pytest.mark.parametrize(("dtype", "error"), PRECISIONS)
def test_three_steps_are_dinos(golden, dtype, error):
    """facebookresearch/dino@7c446df5b9f4:main_dino.py DINOLoss: losses, gradients, centers."""
    arrays = golden("dino_loss")
    objective = small(teacher_temperature=WARMUP).build(env()).to(dtype)
    for i, epoch in enumerate(arrays["epochs"].tolist()):
        temperature = torch.tensor(objective.schedules["temperature"](10 * epoch), dtype=dtype)
        student = arrays[f"student_{i}"].to(dtype).view(5, 4, 12).requires_grad_()
        output = objective.class_loss(temperature, student, arrays[f"teacher_{i}"].to(dtype).view(2, 4, 12))
        output.loss.backward()
        assert error_of(output.loss, arrays[f"loss_{i}"]) <= error
        assert error_of(student.grad.flatten(0, 1), arrays[f"grad_student_{i}"]) <= error
        objective.commit(output.carry)
        assert error_of(objective.center.center[None], arrays[f"center_after_{i}"]) <= error


def test_forward_heads_all_crops_once_and_passes_gradients_to_the_student_only():
    objective, (student, teacher, local) = small().build(env()).double(), answers()
    for one in (student, teacher, local):
        one.cls.requires_grad_()
    with torch.no_grad():  # so that both heads differ
        objective.teacher_head.last_layer.weight_v.mul_(torch.rand(12, 6))
    output = objective(now(temperature=0.05), student, teacher, local)
    goal = (objective.teacher_head(teacher.cls) / 0.05).softmax(-1)
    logits = objective.student_head(torch.cat([student.cls, local.cls])) / 0.1
    pairs = [F.cross_entropy(logits[s], goal[v]) for v in range(2) for s in range(5) if s != v]
    assert output.loss.item() == pytest.approx(torch.stack(pairs).mean().item(), abs=1e-12)
    output.loss.backward()
    assert (student.cls.grad != 0).all()
    assert (local.cls.grad != 0).all()
    assert teacher.cls.grad is None
    assert all(p.grad is None for p in objective.teacher_head.parameters())
    assert objective.student_head.last_layer.weight_g.grad is None


def test_forward_changes_no_buffer_and_micro_batches_join_in_commit():
    objective, whole = small().build(env()).double(), answers()
    at, before = now(temperature=0.05), objective.center.center.clone()
    parts = [
        objective(at, *(t._replace(cls=t.cls[:, half]) for t in whole)).carry
        for half in (slice(0, 1), slice(1, 4))
    ]
    assert torch.equal(objective.center.center, before)
    objective.commit({key: torch.cat([part[key] for part in parts]) for key in parts[0]})
    mean = objective.teacher_head(whole[1].cls).mean((0, 1))
    assert torch.allclose(objective.center.center, 0.1 * mean, atol=1e-15)


def test_metrics_tell_of_collapse():
    objective, (student, teacher, local) = small().build(env()).double(), answers()
    healthy = objective(now(temperature=0.05), student, teacher, local).metrics
    assert healthy.keys() >= {"teacher_entropy", "student_entropy", "kl", "feature_std"}
    assert healthy["teacher_entropy_share"] == pytest.approx(healthy["teacher_entropy"].item() / math.log(12))
    assert 0 < healthy["teacher_entropy"] < math.log(12)
    assert healthy["feature_std"] > 0.7
    same = student._replace(cls=torch.ones(2, 4, DIM, dtype=torch.float64))
    uniform = objective(now(temperature=1e6), same, teacher, local)
    assert uniform.metrics["feature_std"] < 1e-6
    assert uniform.metrics["teacher_entropy"] == pytest.approx(math.log(12))
    assert uniform.metrics["kl"] == pytest.approx((uniform.loss - uniform.metrics["teacher_entropy"]).item())


def test_koleo_is_the_sum_over_global_crops_of_the_students_features():
    """facebookresearch/dinov2 `ssl_meta_arch.py`: before the head, the crops of an image apart."""
    given = answers()
    plain, spread = (small(koleo=weight).build(env()).double() for weight in (0.0, 0.1))
    spread.load_state_dict(plain.state_dict())
    losses = [objective(now(temperature=0.05), *given) for objective in (plain, spread)]
    term = sum(koleo(crop) for crop in given[0].cls)
    assert losses[1].metrics["koleo"] == pytest.approx(term.item())
    assert (losses[1].loss - losses[0].loss).item() == pytest.approx(0.1 * term.item())


def test_the_last_layer_waits_for_an_epoch():
    """facebookresearch/dino `cancel_gradients_last_layer`."""
    objective = small(freeze_last_layer=2, norm_last_layer=False).build(env())
    layer = objective.student_head.last_layer
    for step, frozen in ((0, True), (19, True), (20, False)):
        for p in objective.student_head.parameters():
            p.grad = torch.ones_like(p)
        objective.before_update(step)
        assert all((p.grad is None) == frozen for p in layer.parameters())
        assert all(p.grad is not None for p in objective.student_head.mlp.parameters())


def test_defaults_are_the_references():
    spec = DINO()
    assert (spec.prototypes, spec.student_temperature, spec.teacher_temperature) == (65536, 0.1, 0.04)
    assert (spec.norm_last_layer, spec.batch_norm, spec.freeze_last_layer) == (True, False, 1)
    assert (spec.head.layers, spec.head.hidden, spec.head.bottleneck) == (3, 2048, 256)
    objective = small().build(env())
    assert objective.passes == (Encode("global"), Encode("global", net="teacher"), Encode("local"))
    assert objective.crops == {"global": 2, "local": 1}
    assert small(local=None).build(env()).passes == objective.passes[:2]


def test_heads_start_equal_and_only_the_students_trains():
    objective = small(batch_norm=True).build(env())
    student, teacher = objective.student_head.state_dict(), objective.teacher_head.state_dict()
    assert all(torch.equal(student[name], teacher[name]) for name in student)
    trained = {name for name, p in objective.named_parameters() if p.requires_grad}
    assert all(name.startswith("student_head.") for name in trained)


@pytest.mark.parametrize(
    ("changes", "objective", "match"),
    [
        (
            {},
            {"view": "gloabl"},
            "'gloabl' is not a view of this run. Did you mean 'global'. Known: global, local",
        ),
        ({}, {"local": "small"}, "'small' is not a view.*set `local` to null"),
        ({}, {"local": "global"}, "is 'global', as `view` is"),
        ({"views": {"global": tiny.VIEW, "local": tiny.VIEW}}, {}, "set `views.global.crops` to 2"),
        ({"nets": {}}, {}, "'teacher' is not a moving average of this run. Add it: `nets: {teacher"),
        (
            {"nets": {"teacher": {"backbone": tiny.VIT}}},
            {},
            "'teacher' is a frozen network, not a moving average",
        ),
        ({"batch_size": 1}, {"koleo": 0.1}, "needs at least 2 in a batch"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_built(changes, objective, match):
    views = {"global": {**tiny.VIEW, "crops": 2}, "local": tiny.VIEW}
    fields = {"views": views, "nets": {"teacher": {}}, **changes}
    with pytest.raises(SpecError, match=match):
        parse(tiny.fields(objective={"kind": "dino", "prototypes": 4, "head": HEAD, **objective}, **fields))
