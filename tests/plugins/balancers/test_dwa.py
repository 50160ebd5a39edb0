"""Dynamic weight average."""

from __future__ import annotations

import math

import pytest
import torch

from sslkit import DWA
from sslkit.core.context import Length
from sslkit_balancers.dwa import DWABalancer


def balancer(epoch: int = 2, **fields: float) -> DWABalancer:
    made = DWA(**fields).build(["a", "b"])  # type: ignore[arg-type]
    assert isinstance(made, DWABalancer)
    made.prepare(Length(100, epoch))
    return made


def reported(made: DWABalancer, *losses: tuple[float, float]) -> list[float]:
    for row in losses:
        made.commit(torch.tensor(row), None)
    return made.factors().tolist()


def test_the_first_two_epochs_weigh_all_alike() -> None:
    made = balancer()
    assert reported(made) == [1, 1]
    assert reported(made, (4.0, 1.0), (2.0, 1.0), (1.0, 1.0)) == [1, 1]


def test_the_formula() -> None:
    """Liu, Johns and Davison 2019, equation 7: ratios of the means of the last two epochs, softmax with T = 2."""
    found = reported(balancer(), (4.0, 1.0), (2.0, 1.0), (1.0, 0.5), (2.0, 0.7))
    ratios = [1.5 / 3.0, 0.6 / 1.0]
    powers = [math.exp(ratio / 2) for ratio in ratios]
    assert found == pytest.approx([2 * p / sum(powers) for p in powers], rel=1e-6)
    assert sum(found) == pytest.approx(2)
    assert found[1] > found[0], "the slower one weighs more"


def test_weights_hold_for_an_epoch() -> None:
    made = balancer()
    before = reported(made, (4.0, 1.0), (2.0, 1.0), (1.0, 0.5), (2.0, 0.7))
    assert reported(made, (100.0, 0.1)) == before
    assert reported(made, (100.0, 0.1)) != before


def test_periods_in_steps_and_another_temperature() -> None:
    made = balancer(epoch=50, steps=1, temperature=1e6)
    assert reported(made, (1.0, 1.0), (9.0, 0.1)) == pytest.approx([1, 1], abs=1e-4)
    sharp = balancer(epoch=50, steps=1, temperature=0.1)
    assert reported(sharp, (1.0, 1.0), (9.0, 0.1)) == pytest.approx([2, 0], abs=1e-6)


def test_a_loss_of_zero_is_safe() -> None:
    assert reported(balancer(steps=1), (0.0, 1.0), (0.0, 1.0), (1.0, 1.0)) == pytest.approx([1, 1])


def test_the_forward_is_the_weighted_sum_and_writes_nothing() -> None:
    made = balancer(steps=1)
    weights = torch.tensor(reported(made, (1.0, 1.0), (2.0, 0.5)))
    state = {key: value.clone() for key, value in made.state_dict().items()}
    losses = torch.tensor([3.0, 5.0], requires_grad=True)
    made(losses).backward()
    assert torch.allclose(losses.grad, weights)  # type: ignore[arg-type]
    assert all(torch.equal(state[key], value) for key, value in made.state_dict().items())


def test_all_state_is_in_buffers() -> None:
    made, again = balancer(), balancer()
    reported(made, (4.0, 1.0), (2.0, 1.0), (1.0, 0.5))
    again.load_state_dict(made.state_dict())
    assert reported(again, (2.0, 0.7), (1.0, 1.0)) == reported(made, (2.0, 0.7), (1.0, 1.0))
    assert list(made.parameters()) == []
