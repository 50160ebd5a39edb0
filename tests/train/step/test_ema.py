"""Moving averages of nets and heads."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from sslkit.core.view import View
from sslkit.errors import SpecError
from sslkit.nn.frozen import frozen_copy
from sslkit.specs.nets import NetSpec
from sslkit.specs.schedule import Ramp
from sslkit.train.step.ema import Averages, set_modes
from sslkit_backbones.specs.transformers import ViT
from tests import tiny
from tests.fakes_train import Everything


def student():
    return ViT(**{k: v for k, v in tiny.VIT.items() if k != "kind"}).build(View(8, 1, 1, (0.0,), (1.0,)))


def shifted(online, amount):
    """Move the online parameters, as an optimizer would."""
    with torch.no_grad():
        for p in online.parameters():
            p.add_(amount)


def test_a_copy_neither_trains_nor_drops():
    net = student()
    copied = frozen_copy(net)
    assert not copied.training
    assert not any(p.requires_grad for p in copied.parameters())
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), copied.parameters(), strict=True))
    shifted(net, 1.0)
    assert not torch.equal(next(net.parameters()), next(copied.parameters()))


def test_an_average_keeps_the_share_that_its_momentum_says():
    net = student()
    average = frozen_copy(net)
    old = [p.clone() for p in average.parameters()]
    averages = Averages({"ema": NetSpec(momentum=0.75)}, {"student": net, "ema": average}, {})
    shifted(net, 2.0)
    averages.update("after_step", 0, 10)
    for before, online, now in zip(old, net.parameters(), average.parameters(), strict=True):
        torch.testing.assert_close(now, 0.75 * before + 0.25 * online.detach())


def test_the_momentum_follows_its_schedule():
    net = student()
    average = frozen_copy(net)
    spec = NetSpec(momentum=Ramp(start=0.0, end=1.0, shape="linear"))
    averages = Averages({"ema": spec}, {"student": net, "ema": average}, {})
    shifted(net, 1.0)
    averages.update("after_step", 10, 10)
    assert not torch.equal(next(average.parameters()), next(net.parameters()))
    averages.update("after_step", 0, 10)
    assert all(torch.equal(a, b) for a, b in zip(average.parameters(), net.parameters(), strict=True))


@pytest.mark.parametrize("when", ["after_step", "before_forward"])
def test_a_net_moves_only_at_its_time(when):
    net = student()
    average = frozen_copy(net)
    averages = Averages({"ema": NetSpec(momentum=0.0, update=when)}, {"student": net, "ema": average}, {})
    shifted(net, 1.0)
    other = {"after_step": "before_forward", "before_forward": "after_step"}[when]
    averages.update(other, 0, 1)
    assert not torch.equal(next(average.parameters()), next(net.parameters()))
    averages.update(when, 0, 1)
    assert torch.equal(next(average.parameters()), next(net.parameters()))


def test_twins_follow_the_net_that_their_objective_names():
    net = student()
    teacher, other = frozen_copy(net), frozen_copy(net)
    objective = Everything(net.dim, 10)
    specs = {"teacher": NetSpec(momentum=0.5), "other": NetSpec(momentum=0.0, update="before_forward")}
    averages = Averages(specs, {"student": net, "teacher": teacher, "other": other}, {"all": objective})
    old = objective.slow.weight.clone()
    shifted(objective.head, 1.0)
    averages.update("before_forward", 0, 10)
    assert torch.equal(objective.slow.weight, old)
    averages.update("after_step", 0, 10)
    torch.testing.assert_close(objective.slow.weight, old + 0.5)


def test_what_only_the_student_has_is_left_out():
    net = student()
    average = frozen_copy(net)
    net.mask_token = torch.nn.Parameter(torch.ones(net.dim))
    averages = Averages({"ema": NetSpec(momentum=0.0)}, {"student": net, "ema": average}, {})
    shifted(net, 1.0)
    averages.update("after_step", 0, 1)
    assert torch.equal(average.net.cls_token, net.net.cls_token)
    assert average.mask_token is None


def test_a_missing_net_is_asked_for():
    net = student()
    message = (
        "objectives.all: needs a net 'teacher' whose momentum its heads follow; add `nets: {teacher: {}}`"
    )
    with pytest.raises(SpecError, match=f"^{re.escape(message)}$"):
        Averages({}, {"student": net}, {"all": Everything(net.dim, 10)})


def test_twins_of_unequal_shape_are_refused():
    net = student()
    objective = Everything(net.dim, 10)
    objective.slow = torch.nn.Linear(net.dim, 5)
    with pytest.raises(SpecError, match=r"twins differ in shape: \(4, 16\) and \(5, 16\)"):
        Averages({"teacher": NetSpec()}, {"student": net, "teacher": frozen_copy(net)}, {"all": objective})


def normed() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Dropout(0.5))


def test_batch_norm_of_an_average_uses_its_own_batch_and_its_own_statistics():
    """PARITY: DINO, BYOL and MoCo keep it in training mode and never average its statistics."""
    student, spec = normed(), NetSpec(momentum=0.5)
    teacher = frozen_copy(student)
    nets = {"student": student, "ema": teacher}
    set_modes(nets, {"ema": spec})
    assert [module.training for module in teacher] == [False, True, False]
    assert student[1].training
    student[1].running_mean.fill_(4.0)
    Averages({"ema": spec}, nets, {}).update("after_step", 0, 1)
    assert torch.equal(teacher[1].running_mean, torch.zeros(2))


def test_batch_norm_may_use_averaged_statistics():
    student, spec = normed(), NetSpec(momentum=0.75, batch_norm="average")
    teacher = frozen_copy(student)
    nets = {"student": student, "ema": teacher}
    set_modes(nets, {"ema": spec})
    assert not any(module.training for module in teacher)
    student[1].running_mean.fill_(4.0)
    Averages({"ema": spec}, nets, {}).update("after_step", 0, 1)
    assert torch.equal(teacher[1].running_mean, torch.ones(2))
    assert teacher[1].num_batches_tracked == 0


def test_batch_norm_of_a_frozen_net_is_frozen():
    student, frozen = normed(), frozen_copy(normed())
    set_modes({"student": student, "wise": frozen}, {"wise": NetSpec(backbone={"kind": "vit"})})
    assert not any(module.training for module in frozen.modules())
