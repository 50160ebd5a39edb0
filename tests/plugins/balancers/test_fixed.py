"""Constant weights."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sslkit import FixedWeights
from sslkit.errors import SpecError
from sslkit.specs.load import parse
from sslkit_balancers.fixed import FixedWeightsBalancer
from tests.specs.valid import small, valid

WEIGHTS = st.lists(st.floats(0, 100), min_size=1, max_size=5)


@given(WEIGHTS)
def test_the_sum_and_its_gradient(weights: list[float]) -> None:
    losses = torch.randn(len(weights), dtype=torch.float64, requires_grad=True)
    total = FixedWeightsBalancer(weights)(losses)
    expected = sum(w * loss for w, loss in zip(weights, losses.tolist(), strict=True))
    assert total.item() == pytest.approx(expected, rel=1e-12, abs=1e-12)
    total.backward()
    assert torch.equal(losses.grad, torch.tensor(weights, dtype=torch.float64))  # type: ignore[arg-type]


def test_weights_follow_the_names_and_are_one_by_default() -> None:
    balancer = FixedWeights(weights={"b": 0.5}).build(["a", "b", "c"])
    assert float(balancer(torch.tensor([1.0, 10.0, 100.0]))) == 106.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_type_of_the_losses_is_kept(dtype: torch.dtype) -> None:
    total = FixedWeightsBalancer([1.0, 2.0])(torch.ones(2, dtype=dtype))
    assert total.dtype == dtype
    assert total.shape == ()


def test_it_has_nothing_to_train_and_nothing_to_save() -> None:
    balancer = FixedWeightsBalancer([1.0, 2.0])
    assert list(balancer.parameters()) == []
    assert balancer.state_dict() == {}, "the weights come from the spec"


def test_one_objective_keeps_its_loss_to_the_last_bit() -> None:
    loss = torch.rand(1)
    assert torch.equal(FixedWeightsBalancer([1.0])(loss), loss[0])


def test_weights_of_unknown_objectives_are_a_spec_error() -> None:
    assert parse(valid()).balance == FixedWeights(weights={"main": 1.0, "small": 0.5})
    assert parse(small()).balance == FixedWeights(), "the default of every run"
    with pytest.raises(SpecError, match=r"^balance.weights.x: is not an objective of this run. Known: mae$"):
        parse(small(balance={"kind": "fixed", "weights": {"x": 1}}))
    with pytest.raises(
        SpecError, match=r"^balance.weights.mae: must be greater than or equal to 0, found -1 \(int\)$"
    ):
        parse(small(balance={"kind": "fixed", "weights": {"mae": -1}}))
