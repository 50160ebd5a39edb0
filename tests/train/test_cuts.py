"""Updates do not depend on where a shard is cut: no tensor ends within a vector of the processor for them to notice."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sslkit.optim import optimizer as optim
from sslkit.runtime.parallel import DataParallel, Single
from sslkit.specs.optimizer import OptimizerSpec
from tests import tiny

SIZE = 101
"""Of no processor's vector a multiple."""
LINES = {
    "adamw": OptimizerSpec(lr=0.003, weight_decay=0.05),
    "sgd": OptimizerSpec(name="sgd", lr=0.03, weight_decay=0.05),
    "momentum": OptimizerSpec(name="momentum", lr=0.03, weight_decay=0.05),
    "adam": OptimizerSpec(name="adam", lr=0.003, weight_decay=0.05),
    "lion": OptimizerSpec(name="lion", lr=0.001, weight_decay=0.05),
}
"""Optimizers that read no norm of a tensor."""


def moved(spec, values, gradients):
    """The values after an update by each row of `gradients`, as a rank of several makes it, and the moments."""
    weight = nn.Parameter(values.clone())
    fused = DataParallel(torch.device("cpu"), 0, 2).fused
    made = optim.make(spec, [{"params": [weight], "decay": True, "lr_scale": 1.0}], fused=fused)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optim.assign(made, spec.lr, spec.weight_decay)
        made.step()
    moments = [m for m in made.state[weight].values() if torch.is_tensor(m) and m.ndim]
    return [weight.detach(), *moments]


@pytest.mark.parametrize("name", LINES)
@given(cut=st.integers(1, SIZE - 1), seed=st.integers(0, 10**6))
def test_two_halves_move_as_the_whole(name, cut, seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(SIZE, generator=generator)
    gradients = torch.randn(3, SIZE, generator=generator) * 0.01
    whole = moved(LINES[name], values, gradients)
    first = moved(LINES[name], values[:cut], gradients[:, :cut])
    second = moved(LINES[name], values[cut:], gradients[:, cut:])
    for one, *halves in zip(whole, first, second, strict=True):
        assert torch.equal(torch.cat(halves), one)


@given(cut=st.integers(1, SIZE - 1), seed=st.integers(0, 10**6), momentum=st.floats(0.5, 1.0))
def test_moving_averages_of_two_halves_are_those_of_the_whole(cut, seed, momentum):
    generator = torch.Generator().manual_seed(seed)
    online, average = torch.randn(2, SIZE, generator=generator)
    whole = average.clone()
    torch._foreach_lerp_([whole], [online], 1.0 - momentum)
    halves = [average[:cut].clone(), average[cut:].clone()]
    torch._foreach_lerp_(halves, [online[:cut], online[cut:]], 1.0 - momentum)
    assert torch.equal(torch.cat(halves), whole)


@given(cut=st.integers(1, SIZE - 1), seed=st.integers(0, 10**6))
def test_norms_of_two_halves_make_that_of_the_whole(cut, seed):
    """What two ranks add up, rounded to the type of the values."""
    values = torch.randn(SIZE, generator=torch.Generator().manual_seed(seed))
    ranks = DataParallel(torch.device("cpu"), 0, 2)
    (whole,) = ranks.norms([values])
    squares = [
        torch._foreach_norm([part], dtype=torch.float64)[0].square()
        for part in values.split([cut, SIZE - cut])
    ]
    assert torch.equal(torch.stack(squares).sum().sqrt().float(), whole)
    assert whole.dtype == torch.float32
    assert whole.item() == pytest.approx(values.double().norm().item(), rel=1e-6)


@pytest.mark.parametrize(
    ("place", "fused"),
    [
        (Single(torch.device("cpu")), True),
        (DataParallel(torch.device("cpu"), 0, 2), False),
        (DataParallel(torch.device("cuda"), 0, 2), True),
    ],
    ids=["alone", "replicas", "replicas on GPUs"],
)
def test_one_kernel_a_tensor_serves_where_nothing_is_cut_or_cuts_do_not_matter(place, fused):
    assert place.fused is fused


def test_a_checkpoint_says_what_was_computed_not_by_which_kernel():
    """Moments made by one kernel go on in another."""
    alone, _ = tiny.steps(tiny.spec(), 2)
    other, _ = tiny.steps(tiny.spec(), 1)
    for group in other.step.optimizer.param_groups:
        group["fused"], group["foreach"] = False, True
    other.step.load_state_dict(alone.step.state_dict())
    assert {(g["fused"], g["foreach"]) for g in other.step.optimizer.param_groups} == {(False, True)}
    assert tiny.same(alone, other)
