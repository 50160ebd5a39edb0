"""Tensors in shards: a group of one rank has all of them. Several ranks have tests in tests/distributed."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from sslkit import catalog
from sslkit.build import saved_state
from sslkit.core.backbone import Backbone
from sslkit.core.view import View
from sslkit.errors import CheckpointError, SpecError
from sslkit.runs.checkpoint import Loaded
from sslkit.runtime import dtensor, fsdp
from sslkit.runtime.parallel import Sharded
from sslkit.specs.families import BackboneSpec
from sslkit.train.compose import compose
from tests import tiny

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def mesh():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


@pytest.fixture
def values():
    return torch.arange(6.0).view(3, 2)


@pytest.fixture
def cut(mesh, values):
    return distribute_tensor(values.clone(), mesh, [Shard(0)])


def test_what_a_rank_holds_shares_memory(cut, values):
    dtensor.local(cut).add_(1)
    assert torch.equal(dtensor.full_tensor(cut), values + 1)
    dtensor.local(values).mul_(2)
    assert values[2, 1] == 10
    assert dtensor.full_tensor(values).data_ptr() == values.data_ptr()


def test_a_gradient_is_placed_as_its_parameter(cut, values):
    parameter = nn.Parameter(cut)
    parameter.grad = dtensor.like(torch.ones(6), parameter)
    assert isinstance(parameter.grad, DTensor)
    assert parameter.grad.placements == parameter.placements
    assert torch.equal(dtensor.full_tensor(parameter.grad), torch.ones(3, 2))
    plain = dtensor.like(torch.ones(6), values)
    assert type(plain) is torch.Tensor
    assert plain.shape == values.shape


def test_whole_values_are_cut(cut, values):
    placed = dtensor.placed(values * 3, cut)
    assert isinstance(placed, DTensor)
    assert torch.equal(dtensor.full_tensor(placed), values * 3)
    assert dtensor.placed(values, values) is values
    assert dtensor.placed(values[0], cut) is not cut  # of another shape: loading says so
    assert type(dtensor.placed(values[0], cut)) is torch.Tensor
    assert dtensor.placed(4, cut) == 4


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD], ids=["adamw", "sgd"])
def test_moments_follow_the_order_of_memory_of_their_weights(kind):
    """Fused steps read both side by side: a checkpoint of a network with channels first, and weights channels last."""
    settings = {"lr": 1e-2, "fused": True} | ({"momentum": 0.9} if kind is torch.optim.SGD else {})
    start, gradient = torch.randn(2, 8, 4, 3, 3, generator=torch.Generator().manual_seed(0)).unbind()
    weight = nn.Parameter(start.clone())
    optimizer = kind([weight], **settings)
    weight.grad = gradient
    optimizer.step()
    state, ends = optimizer.state_dict(), {}
    for order in (torch.contiguous_format, torch.channels_last):
        other = nn.Parameter(weight.detach().clone(memory_format=order))
        again = kind([other], **settings)
        again.load_state_dict(dtensor.optimizer_placed(copy.deepcopy(state), again))
        other.grad = (2 * gradient).clone(memory_format=order)
        again.step()
        ends[order] = other.detach()
    assert torch.equal(ends[torch.channels_last], ends[torch.contiguous_format])
    assert not torch.equal(ends[torch.channels_last], weight)


def test_a_state_is_joined_for_the_rank_that_keeps_it(cut, values):
    state = {"a": {"b": cut, 3: values}, "lr": 0.1, "groups": [1, 2]}
    kept, left = dtensor.gathered(state, keep=True), dtensor.gathered(state, keep=False)
    assert type(kept["a"]["b"]) is torch.Tensor
    assert torch.equal(kept["a"]["b"], values)
    assert kept["a"][3] is values
    assert (kept["lr"], kept["groups"]) == (0.1, [1, 2])
    assert left["a"]["b"] is None


def sharded(mesh, **changes):
    """The tiny run on the only rank of a group."""
    spec = tiny.spec(nets={"teacher": {"momentum": 0.9}}, **changes)
    return spec, compose(spec, Sharded(CPU, 0, 1))


@pytest.mark.parametrize("name", ["adamw", "sgd", "lars"])
def test_steps_of_a_group_of_one_equal_those_of_one_process(mesh, name):
    changes = {"optimizer": {"name": name, "lr": 0.01, "clip": 0.5}, "micro_batch_size": 16}
    spec, composed = sharded(mesh, **changes)
    feed = tiny.feed(spec, composed)
    losses = [composed.step(i, feed.step(i)).total.item() for i in range(2)]
    alone, expected = tiny.steps(spec, 2)
    assert losses == pytest.approx(expected, rel=1e-6)
    assert all(isinstance(p, DTensor) for p in composed.system.parameters())
    for key, value in alone.step.state_dict()["system"].items():
        assert torch.allclose(composed.step.state_dict()["system"][key], value, rtol=1e-5, atol=1e-7)


def test_a_checkpoint_of_one_process_goes_on_in_shards(mesh, tmp_path):
    spec, composed = sharded(mesh)
    alone, _ = tiny.steps(spec, 2)
    state = alone.step.state_dict()
    loaded = Loaded(2, state, {}, tmp_path)
    saved_state.load_system(composed.system, loaded)
    saved_state.load_optimizer(composed.step.optimizer, loaded)
    again = composed.step.state_dict()
    assert again["system"].keys() == state["system"].keys()
    assert all(torch.equal(again["system"][key], value) for key, value in state["system"].items())
    for number, moments in state["optimizer"]["state"].items():
        found = again["optimizer"]["state"][number]
        assert all(torch.equal(found[key], value) for key, value in moments.items())
    second = compose(spec, Sharded(CPU, 0, 1)).step
    second.load_state_dict(state)
    assert torch.equal(
        next(iter(second.state_dict()["system"].values())), next(iter(state["system"].values()))
    )


def test_a_checkpoint_of_another_network_is_refused(mesh, tmp_path):
    _, composed = sharded(mesh)
    state = composed.step.state_dict()
    first = next(iter(state["system"]))
    wrong = {**state, "system": {**state["system"], first: torch.zeros(5, 5)}}
    with pytest.raises(CheckpointError, match="does not fit this run's network"):
        saved_state.load_system(composed.system, Loaded(2, wrong, {}, tmp_path))


def test_a_system_is_read_through_a_stand_in(mesh):
    _, composed = sharded(mesh)
    step = composed.step
    assert step.reading is not step.system
    assert all(p.is_meta for p in step.reading.parameters())
    with step.full_weights():
        with step.full_weights():
            pass
        student = step.reading.nets["student"]
        assert isinstance(student, Backbone)
        assert all(type(p) is nn.Parameter and p.requires_grad for p in student.net.blocks.parameters())
        assert not any(p.requires_grad for p in step.reading.nets["teacher"].parameters())
        for name, value in step.reading.state_dict().items():
            assert torch.equal(value, dtensor.full_tensor(step.system.state_dict()[name]))
    assert all(p.is_meta for p in step.reading.parameters())


def test_units_are_sharded_one_by_one(mesh):
    _, composed = sharded(mesh)
    student = composed.system.nets["student"]
    units = [module for module in composed.system.modules() if type(module).__name__.startswith("FSDP")]
    assert isinstance(student, Backbone)
    assert list(student.units()) == [student.net.blocks[0]]
    assert {*student.units(), student, composed.system} <= set(units)
    assert len(units) == 5  # the system, and of each of two nets itself and a block


@pytest.mark.parametrize("kind", ["cnn", "swin"])
def test_units_of_networks_are_their_blocks(kind):
    cls = catalog.kinds("backbone")[kind]
    assert issubclass(cls, BackboneSpec)
    net = cls.example().build(View(32, 1, 1, (0.3,), (0.4,)))
    inside = [p for unit in net.units() for p in unit.parameters()]
    assert len(inside) == len({id(p) for p in inside})  # no unit within another
    assert len(list(net.parameters())) / 4 < len(inside) < len(list(net.parameters()))


def test_a_number_of_a_net_cannot_be_cut(mesh):
    spec = tiny.spec()
    composed = compose(spec, tiny.CPU)
    composed.system.nets["student"].net.scale = nn.Parameter(torch.tensor(1.0))
    with pytest.raises(
        SpecError, match=r"^parallel: fsdp cannot cut 'nets.student.net.scale', a number without"
    ):
        fsdp.shard(composed.system, mesh)


def test_a_number_of_an_objective_stays_whole(mesh):
    composed = compose(tiny.spec(), tiny.CPU)
    composed.system.objectives["mae"].scale = nn.Parameter(torch.tensor(1.0))
    kept = fsdp.shard(composed.system, mesh)
    assert [type(p) for p in kept] == [nn.Parameter]
    assert kept[0] is composed.system.objectives["mae"].scale
