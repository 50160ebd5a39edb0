"""Losses by name."""

from __future__ import annotations

import pytest
import torch

from sslkit.functional.regression_losses import regression


@pytest.mark.parametrize(
    ("name", "by_hand"),
    [
        ("l2", lambda d: d * d),
        ("l1", lambda d: d.abs()),
        ("smooth_l1", lambda d: torch.where(d.abs() < 1, 0.5 * d * d, d.abs() - 0.5)),
    ],
)
def test_regression_is_the_mean_over_the_last_dimension(name, by_hand):
    guess, goal = torch.randn(5, 9, dtype=torch.float64) * 2, torch.randn(5, 9, dtype=torch.float64)
    assert torch.allclose(regression(guess, goal, name), by_hand(guess - goal).mean(-1), atol=1e-14)


@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_beta_is_where_smooth_l1_turns(beta):
    guess, goal = torch.randn(5, 9, dtype=torch.float64) * 3, torch.randn(5, 9, dtype=torch.float64)
    d = (guess - goal).abs()
    by_hand = torch.where(d < beta, d * d / (2 * beta), d - beta / 2)
    assert torch.allclose(regression(guess, goal, "smooth_l1", beta), by_hand.mean(-1), atol=1e-14)


def test_cosine_is_one_minus_the_cosine_of_the_angle():
    """EVA's loss (`engine_for_pretraining.py:39-42`) is minus the cosine: 1 less, with the same gradients."""
    guess = torch.randn(5, 9, dtype=torch.float64, requires_grad=True)
    goal = torch.randn(5, 9, dtype=torch.float64)
    loss = regression(guess, goal, "cosine")
    eva = -(guess * goal).sum(-1) / ((guess * guess).sum(-1).sqrt() * (goal * goal).sum(-1).sqrt())
    assert torch.allclose(loss, 1 + eva, atol=1e-14)
    ours, theirs = (torch.autograd.grad(x.sum(), guess)[0] for x in (loss, eva))
    assert torch.allclose(ours, theirs, atol=1e-14)


def test_cosine_of_nothing_is_finite():
    guess = torch.zeros(2, 4, requires_grad=True)
    loss = regression(guess, torch.ones(2, 4), "cosine")
    loss.sum().backward()
    assert loss.tolist() == [1, 1]
    assert guess.grad.isfinite().all()


def test_leading_dimensions_are_kept():
    guess, goal = torch.randn(3, 2, 4), torch.randn(3, 2, 4)
    for name in ("l2", "smooth_l1", "cosine"):
        assert regression(guess, goal, name).shape == (3, 2)


@pytest.mark.parametrize("name", ["l2", "cosine"])
def test_half_precision_ends_at_the_loss(name):
    guess = torch.randn(3, 8, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert regression(guess, guess * 2, name).dtype == torch.float32


def test_regression_is_computed_in_float32_for_half_precision():
    guess = torch.full((1, 4096), 1.0, dtype=torch.bfloat16)
    goal = torch.full((1, 4096), 1.0 + 2**-7, dtype=torch.bfloat16)
    assert regression(guess, goal, "l1").item() == 2**-7
