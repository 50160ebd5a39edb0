"""LARS against the references' own steps."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from sslkit.optim import optimizer as optim
from sslkit.optim.lars import LARS
from sslkit.specs.optimizer import OptimizerSpec

SETTINGS = {"name": "lars", "lr": 0.3, "momentum": 0.9, "weight_decay": 0.01}


def trained(arrays, **changes):
    """Weight and bias after each step of the golden, through the spec's own groups."""
    weight, bias = (nn.Parameter(arrays[name].clone()) for name in ("W0", "b0"))
    spec = OptimizerSpec(**{**SETTINGS, **changes})
    made = optim.make(spec, optim.groups(spec, [("weight", weight), ("bias", bias)]))
    after = []
    for gradient, shift in zip(arrays["gradsW"], arrays["gradsb"], strict=True):
        weight.grad, bias.grad = gradient.clone(), shift.clone()
        optim.assign(made, spec.lr, spec.weight_decay)
        made.step()
        after.append((weight.detach().clone(), bias.detach().clone()))
    return [torch.stack(values) for values in zip(*after, strict=True)]


@pytest.mark.parametrize("reference", ["bt_filtered", "mocov3"])
def test_biases_are_neither_adapted_nor_decayed(golden, reference):
    """Barlow Twins `main.py` with both filters, MoCo v3 `moco/optimizer.py`: three steps in float64."""
    arrays = golden("lars")
    for found, name in zip(trained(arrays), "Wb", strict=True):
        expected = arrays[f"{reference}_{name}"]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_everything_is_adapted_where_one_dimensional_parameters_decay(golden):
    """Barlow Twins `main.py` without its filters."""
    arrays = golden("lars")
    for found, name in zip(trained(arrays, decay_one_dimensional=True), "Wb", strict=True):
        torch.testing.assert_close(found, arrays[f"bt_plain_{name}"], rtol=0, atol=1e-12)


def test_the_other_denominator_is_noticed(golden):
    """lightly's and timm's ||g|| + weight_decay ||w||, which this is not."""
    arrays = golden("lars")
    found, _ = trained(arrays)
    assert (found - arrays["lightly_W"]).abs().max() > 1e-6


def test_without_weight_decay_it_still_adapts():
    """MAE's linear probe has weight decay 0 (`util/lars.py`): ||step|| is lr x trust x ||w||; timm's would be SGD."""
    weight = nn.Parameter(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)))
    before, weight.grad = weight.detach().clone(), torch.full((5, 3), 7.0)
    LARS([{"params": [weight]}], lr=2.0, trust=0.01).step()
    moved = (before - weight.detach()).norm()
    torch.testing.assert_close(moved, 2.0 * 0.01 * before.norm())


@pytest.mark.parametrize("zero", ["weight", "gradient"])
def test_a_norm_of_zero_leaves_the_gradient_as_it_is(zero):
    """A layer that begins at 0 moves (the ratio is 1), one without gradient stays finite."""
    weight = nn.Parameter(torch.zeros(2, 2) if zero == "weight" else torch.ones(2, 2))
    weight.grad = torch.zeros(2, 2) if zero == "gradient" else torch.ones(2, 2)
    before = weight.detach().clone()
    LARS([{"params": [weight]}], lr=0.5).step()
    assert torch.equal(weight, before - 0.5 * weight.grad)


def test_the_trust_coefficient_of_the_spec_is_used():
    weight = nn.Parameter(torch.ones(2, 2))
    spec = OptimizerSpec(name="lars", trust=0.5)
    made = optim.make(spec, optim.groups(spec, [("weight", weight)]))
    assert [group["trust"] for group in made.param_groups] == [0.5]


def test_parameters_without_gradient_and_closures():
    used, idle = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    made = LARS([{"params": [used, idle]}, {"params": [nn.Parameter(torch.ones(1))]}], lr=1.0)

    def closure():
        made.zero_grad()
        loss = used.square().sum()
        loss.backward()
        return loss.item()

    assert made.step(closure) == 4.0
    assert torch.equal(idle, torch.ones(2, 2))
    assert not torch.equal(used, torch.ones(2, 2))
    assert list(made.state) == [used]


def test_its_whole_state_is_in_the_state_dict():
    start = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))

    def run(weight, made, steps):
        for step in steps:
            weight.grad = (weight.detach() + step).sin()
            made.step()

    whole, half = (nn.Parameter(start.clone()) for _ in range(2))
    one, two = (LARS([{"params": [w]}], lr=0.3, weight_decay=0.01) for w in (whole, half))
    run(whole, one, range(4))
    run(half, two, range(2))
    again = nn.Parameter(half.detach().clone())
    three = LARS([{"params": [again]}], lr=9.0)
    three.load_state_dict(copy.deepcopy(two.state_dict()))
    run(again, three, range(2, 4))
    assert torch.equal(again, whole)
