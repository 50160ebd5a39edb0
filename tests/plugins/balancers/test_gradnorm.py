"""Weights trained to even out lengths of gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sslkit import GradNorm
from sslkit.core.random_stream import Draw
from sslkit_balancers.gradnorm import GradNormBalancer as Weights

DRAW = Draw(0, torch.zeros(1, dtype=torch.int64))


def balancer(count: int = 2, **fields: float) -> Weights:
    made = GradNorm(**fields).build([f"t{i}" for i in range(count)])  # type: ignore[arg-type]
    assert isinstance(made, Weights)
    return made


def gram(*lengths: float) -> Tensor:
    return torch.diag(torch.tensor(lengths, dtype=torch.float64).square())


def after(made: Weights, steps: int, losses: Tensor, products: Tensor) -> list[float]:
    for _ in range(steps):
        made.commit(losses, products)
    weights: list[float] = made.weigh(products, DRAW).tolist()
    return weights


def reference(weights: Tensor, lengths: Tensor, losses: Tensor, first: Tensor, alpha: float) -> Tensor:
    """Gradient of L_grad (Chen et al. 2018, equation 2) by autograd, its goals held constant."""
    weights = weights.clone().requires_grad_()
    weighed = weights * lengths
    rate = losses / first
    goal = (weighed.mean() * (rate / rate.mean()) ** alpha).detach()
    (weighed - goal).abs().sum().backward()
    assert weights.grad is not None
    return weights.grad


def test_the_update_is_adam_on_the_papers_loss() -> None:
    """Algorithm 1 of the paper, against torch's Adam; scales of gradients divide out."""
    made, lr, alpha = balancer(3, lr=0.05), 0.05, 1.5
    theirs = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    adam = torch.optim.Adam([theirs], lr=lr)
    generator = torch.Generator().manual_seed(2)
    first = None
    for _ in range(6):
        losses = torch.rand(3, generator=generator, dtype=torch.float64) + 0.5
        lengths = torch.tensor([1.0, 4.0, 0.5], dtype=torch.float64)
        first = losses if first is None else first
        theirs.grad = reference(theirs.detach(), lengths, losses, first, alpha) / lengths.mean()
        adam.step()
        with torch.no_grad():
            theirs.mul_(3 / theirs.sum())
        made.commit(losses, gram(*lengths.tolist()))
        assert torch.allclose(made.weigh(gram(1, 1, 1), DRAW), theirs.detach(), rtol=1e-9)


def test_lengths_become_equal_where_losses_fall_alike() -> None:
    made = balancer(lr=0.02, alpha=0.0)
    weights = after(made, 400, torch.tensor([1.0, 1.0]), gram(1.0, 3.0))
    assert weights[0] * 1.0 == pytest.approx(weights[1] * 3.0, rel=0.1)
    assert sum(weights) == pytest.approx(2)


def test_the_loss_that_lags_gets_the_longer_gradient() -> None:
    made = balancer(lr=0.02)
    made.commit(torch.tensor([1.0, 1.0]), gram(1.0, 1.0))
    weights = after(made, 200, torch.tensor([0.9, 0.3]), gram(1.0, 1.0))
    assert weights[0] > 1.2 > weights[1]


@pytest.mark.parametrize("lengths", [(0.0, 0.0), (0.0, 1.0), (1e-20, 1e20)])
@pytest.mark.parametrize("losses", [(0.0, 0.0), (0.0, 1.0), (-1.0, 1.0)])
def test_degenerate_steps_are_safe(lengths: tuple[float, float], losses: tuple[float, float]) -> None:
    weights = after(balancer(), 100, torch.tensor(losses), gram(*lengths))
    assert all(0 <= w <= 2.0000001 for w in weights)
    assert sum(weights) == pytest.approx(2)


def test_weights_that_a_large_step_takes_to_0_stay_as_they_were() -> None:
    """With small alphas the goals of all can lie below the lengths."""
    made = balancer(alpha=0.12, lr=2.0)
    made.commit(torch.tensor([1.0, 1.0]), gram(0.0, 0.0))
    assert after(made, 1, torch.tensor([0.95, 0.05]), gram(1.1, 0.9)) == [1, 1]


def test_the_weights_of_a_step_do_not_depend_on_its_gradients() -> None:
    """The network is updated with the old weights, and then the weights are (algorithm 1)."""
    made = balancer()
    assert made.weigh(gram(1.0, 9.0), DRAW).tolist() == [1, 1]
    assert made(torch.tensor([2.0, 3.0])).item() == 5
    assert made.factors() is None


def test_one_objective_keeps_weight_1() -> None:
    assert after(balancer(1), 20, torch.tensor([0.3]), gram(5.0)) == [1]


def test_a_loss_that_begins_at_0_has_its_first_value_when_it_has_one() -> None:
    """A term whose weight fades in."""
    made = balancer(lr=0.01)
    made.commit(torch.tensor([2.0, 0.0]), gram(1.0, 0.0))
    assert made.first.tolist() == [2, 0]
    made.commit(torch.tensor([1.5, 0.5]), gram(1.0, 1.0))
    made.commit(torch.tensor([1.0, 0.25]), gram(1.0, 1.0))
    assert made.first.tolist() == [2, 0.5]
    assert made.weigh(gram(1.0, 1.0), DRAW).isfinite().all()


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_scale_of_gradients_and_losses_divides_out(scale: float) -> None:
    """Losses count by their ratio to the first, and Adam asks for no scale of gradients."""
    one, two = balancer(3), balancer(3)
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        losses = torch.rand(3, generator=generator) + 0.5
        products = gram(*(torch.rand(3, generator=generator) + 0.1).tolist())
        one.commit(losses, products)
        two.commit(losses * scale, products * scale**2)
    assert torch.allclose(one.weights, two.weights, rtol=1e-4)
