"""A composed system that is converted, or whose parts are replaced, trains on as it is."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from sslkit.errors import SpecError
from sslkit.runtime.fsdp import filled, stand_in
from sslkit.runtime.tensor_slots import Watch
from sslkit.train.compose import compose
from tests import tiny
from tests.fakes_train import compose_everything

TEACHER = {"teacher": {"momentum": 0.5}}
SGD = {"name": "momentum", "lr": 0.1, "momentum": 0.0, "scale": "absolute", "weight_decay": 0.0}
CONSTANT = {"warmup_epochs": 0, "shape": "constant"}
DINO = {
    "kind": "dino",
    "prototypes": 12,
    "layers": 2,
    "hidden": 8,
    "bottleneck": 4,
    "freeze_last_layer": 0,
}


def run_of(**changes):
    return tiny.spec(**{"nets": TEACHER, "optimizer": SGD, "schedule": CONSTANT, **changes})


def values(module):
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def steps(run, composed, numbers):
    supply = tiny.feed(run, composed)
    return [composed.step(i, supply.step(i)).total for i in numbers]


def average_of(before, online, momentum=0.5):
    return {name: momentum * value + (1 - momentum) * online[name] for name, value in before.items()}


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_teacher_of_a_converted_system_follows(dtype):
    run = run_of()
    composed = compose(run, tiny.CPU)
    composed.system.to(dtype)
    teacher, student = composed.system.nets["teacher"], composed.system.nets["student"]
    before = values(teacher)
    steps(run, composed, [0])
    expected = average_of(before, values(student))
    for name, value in values(teacher).items():
        assert value.dtype == dtype
        torch.testing.assert_close(value, expected[name])
    moved = [name for name, value in values(teacher).items() if not torch.equal(value, before[name])]
    assert len(moved) > 20


def test_training_in_float64_is_that_in_float32_with_more_digits():
    run = run_of()
    one, two = compose(run, tiny.CPU), compose(run, tiny.CPU)
    two.system.double()
    losses = steps(run, one, range(3)), steps(run, two, range(3))
    assert {loss.dtype for loss in losses[1]} == {torch.float64}
    torch.testing.assert_close(torch.stack(losses[0]).double(), torch.stack(losses[1]), rtol=1e-4, atol=0)
    for name, value in values(two.system).items():
        if value.is_floating_point():
            torch.testing.assert_close(values(one.system)[name].to(value), value, rtol=1e-3, atol=1e-4)


def test_schedules_have_the_digits_of_the_system():
    """0.1 in float32 is 0.10000000149."""
    run = run_of()
    composed = compose_everything(run)
    composed.system.double()
    objective = composed.system.objectives["all"]
    objective.schedules = composed.system.schedules["all"] = {"temperature": lambda step: 0.1}
    steps(run, composed, [0])
    (seen,) = objective.now
    assert seen.dtype == torch.float64
    assert seen.item() == 0.1


def test_heads_that_average_follow():
    run = run_of(nets={"teacher": {"momentum": 0.25}})
    composed = compose_everything(run)
    composed.system.double()
    objective = composed.system.objectives["all"]
    before = objective.slow.weight.clone()
    steps(run, composed, [1])
    torch.testing.assert_close(objective.slow.weight, 0.25 * before + 0.75 * objective.head.weight.detach())
    assert not torch.equal(objective.slow.weight, before)


@pytest.mark.parametrize("name", ["adamw", "lars", "lamb"])
def test_moments_are_converted_with_their_parameters(name):
    """Half-way: the optimizer goes on from its moments, in the parameters' type."""
    run = run_of(optimizer={"name": name, "lr": 0.05}, steps=8)
    whole, changed = compose(run, tiny.CPU), compose(run, tiny.CPU)
    steps(run, whole, range(2))
    steps(run, changed, range(2))
    changed.system.double()
    straight, converted = steps(run, whole, range(2, 4)), steps(run, changed, range(2, 4))
    torch.testing.assert_close(torch.stack(straight).double(), torch.stack(converted), rtol=1e-4, atol=0)
    kept = [v for state in changed.step.optimizer.state.values() for k, v in state.items() if k != "step"]
    assert kept
    assert {v.dtype for v in kept if isinstance(v, torch.Tensor)} == {torch.float64}


def test_parameters_that_a_conversion_replaces_are_trained():
    """With torch's `overwrite_module_params_on_conversion` they are other objects afterwards."""
    run = run_of(optimizer={**SGD, "clip": 1.0})
    expected, composed = compose(run, tiny.CPU), compose(run, tiny.CPU)
    first = next(composed.system.parameters())
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        composed.system.double().float()
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)
    assert next(composed.system.parameters()) is not first
    losses = steps(run, expected, range(2)), steps(run, composed, range(2))
    torch.testing.assert_close(*map(torch.stack, losses))
    assert tiny.same(expected, composed)


def test_parts_that_are_exchanged_are_trained_and_averaged():
    run = run_of()
    composed = compose(run, tiny.CPU)
    nets = composed.system.nets
    for net in nets.values():
        torch.manual_seed(0)
        net.net.norm = nn.LayerNorm(net.dim).requires_grad_(net is nets["student"])
    before = nets["student"].net.norm.weight.detach().clone()
    steps(run, composed, [0])
    after = nets["student"].net.norm.weight.detach()
    assert not torch.equal(after, before)
    torch.testing.assert_close(nets["teacher"].net.norm.weight, 0.5 * before + 0.5 * after)


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def test_parametrized_layers_are_trained_and_averaged():
    run = run_of()
    composed = compose(run, tiny.CPU)
    nets = composed.system.nets
    layers = [net.net.blocks[0].mlp.fc1 for net in (nets["student"], nets["teacher"])]
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", Doubled())
    layers[1].requires_grad_(False)
    before = [layer.parametrizations.weight.original.detach().clone() for layer in layers]
    steps(run, composed, [0])
    online, average = (layer.parametrizations.weight.original for layer in layers)
    assert not torch.equal(online, before[0])
    torch.testing.assert_close(average, 0.5 * before[1] + 0.5 * online.detach())


def test_a_net_that_was_changed_alone_is_refused():
    """Its average would stand still, or be in another type."""
    run = run_of()
    composed = compose(run, tiny.CPU)
    layer = composed.system.nets["student"].net.blocks[0].mlp.fc1
    parametrize.register_parametrization(layer, "weight", Doubled())
    message = "nets.teacher: has 'net.blocks.0.mlp.fc1.weight', which what it averages has not"
    with pytest.raises(SpecError, match=f"^{re.escape(message)}"):
        steps(run, composed, [0])
    composed = compose(run, tiny.CPU)
    composed.system.nets["student"].double()
    message = (
        "is torch.float32 on cpu, but what it averages is torch.float64 on cpu; convert the whole system"
    )
    with pytest.raises(SpecError, match=re.escape(message)):
        steps(run, composed, [0])


def test_moments_that_would_be_lost_are_told():
    run = run_of(optimizer={"name": "adamw", "lr": 0.05})
    composed = compose(run, tiny.CPU)
    steps(run, composed, [0])
    for net in composed.system.nets.values():
        parametrize.register_parametrization(net.net.blocks[0].mlp.fc1, "weight", Doubled())
    with pytest.raises(SpecError, match=r"moments of 'nets\.student\.net\.blocks\.0\.mlp\.fc1\.weight'"):
        steps(run, composed, [1])


def test_another_device_is_refused_by_name():
    run = run_of()
    composed = compose(run, tiny.CPU)
    composed.system.to("meta")
    message = (
        "the system is on meta, but its step was composed for cpu; say where to train by the spec's `device`"
    )
    with pytest.raises(SpecError, match=f"^{re.escape(message)}$"):
        steps(run, composed, [0])


@pytest.mark.parametrize("masker", ["difficulty", "information"])
def test_maskers_that_learn_read_a_converted_system(masker):
    mae = {"kind": "mae", "masker": {"kind": masker, "ratio": 0.5}, "decoder": tiny.DECODER}
    run = run_of(objective=mae)
    one, two = compose(run, tiny.CPU), compose(run, tiny.CPU)
    two.system.double()
    losses = steps(run, one, range(3)), steps(run, two, range(3))
    torch.testing.assert_close(torch.stack(losses[0]).double(), torch.stack(losses[1]), rtol=1e-4, atol=0)
    learned = values(one.step.masking), values(two.step.masking)
    assert learned[0]
    for name, value in learned[0].items():
        torch.testing.assert_close(learned[1][name].to(value), value, rtol=1e-2, atol=1e-4)


def test_a_stand_in_for_shards_has_the_converted_buffers():
    """Those that no checkpoint holds too: the mean and deviation of a target that draws pictures."""
    mae = {"kind": "mae", "decoder": tiny.DECODER, "target": {"kind": "teacher_feature", "net": "teacher"}}
    system = compose(run_of(objective=mae), tiny.CPU).system
    reading = stand_in(system)
    system.double()
    with filled(reading, system):
        buffers = dict(reading.named_buffers())
        assert len(buffers.keys() - reading.state_dict().keys()) >= 3
        for name, buffer in system.named_buffers():
            assert buffers[name].dtype == buffer.dtype
            assert torch.equal(buffers[name], buffer), name


def test_one_update_a_net_and_nothing_is_bound_again(monkeypatch):
    run = run_of(nets={"teacher": {"momentum": 0.5}, "slow": {"momentum": 0.9}})
    composed = compose(run, tiny.CPU)
    composed.system.double()
    steps(run, composed, [0])
    updates, lerp = [], torch._foreach_lerp_
    monkeypatch.setattr(torch, "_foreach_lerp_", lambda *a: (updates.append(len(a[0])), lerp(*a)))
    monkeypatch.setattr(composed.step, "_bind", lambda: pytest.fail("nothing was changed"))
    steps(run, composed, [1, 2])
    parameters = len(list(composed.system.nets["teacher"].parameters()))
    assert updates == [parameters] * 4


def test_a_watch_notices_each_kind_of_change():
    def net():
        return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.ReLU())

    def replaced(module):
        module[0].weight = nn.Parameter(torch.zeros(2, 2))

    def removed(module):
        del module[2]

    def renamed(module):
        module[0].register_parameter("scale", module[0].weight)
        del module[0].weight

    def added(module):
        module.append(nn.Linear(2, 2))

    changes = (replaced, removed, renamed, added, lambda module: module.double())
    for change in changes:
        module = net()
        watch = Watch(module)
        module(torch.randn(4, 2)).sum().backward()
        module[1].running_mean = torch.ones(2)
        assert not watch.changed()
        change(module)
        assert watch.changed()
