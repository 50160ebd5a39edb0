"""Losses by name."""

from __future__ import annotations

import pytest
import torch

from sslkit.functional.losses import regression


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


def test_regression_is_computed_in_float32_for_half_precision():
    guess = torch.full((1, 4096), 1.0, dtype=torch.bfloat16)
    goal = torch.full((1, 4096), 1.0 + 2**-7, dtype=torch.bfloat16)
    assert regression(guess, goal, "l1").item() == 2**-7
