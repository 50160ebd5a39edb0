"""Batched optimizers against torch's and the project's own."""

from __future__ import annotations

import pytest
import torch

from sslkit.optim.lars import LARS
from sslkit_evaluators.probes.updates import MOMENTUM, Updates

D, S, C, STEPS = 5, 3, 4, 6
RATES = torch.tensor([[0.01], [0.1], [0.5]], dtype=torch.float64)
DECAYS = torch.tensor([[0.0], [0.05], [0.3]], dtype=torch.float64)


def slopes():
    """Gradients of every step."""
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(D, S, C, generator=generator, dtype=torch.float64),
            torch.randn(S, C, generator=generator, dtype=torch.float64),
        )
        for _ in range(STEPS)
    ]


def start():
    return torch.linspace(-1, 1, D * S * C, dtype=torch.float64).view(D, S, C).clone(), torch.zeros(
        S, C, dtype=torch.float64
    )


def moved(rule):
    weight, bias = start()
    updates = Updates(rule, weight, bias, DECAYS)
    for weight_slope, bias_slope in slopes():
        updates(RATES, weight_slope, bias_slope)
    return weight, bias


def reference(make, setting):
    """One setting by an optimizer of torch's interface; `make` takes weight and bias groups."""
    weight, bias = (x[:, setting] if x.ndim == 3 else x[setting] for x in start())
    weight, bias = torch.nn.Parameter(weight.clone()), torch.nn.Parameter(bias.clone())
    optimizer = make(weight, bias, float(RATES[setting]), float(DECAYS[setting]))
    for weight_slope, bias_slope in slopes():
        weight.grad, bias.grad = weight_slope[:, setting].clone(), bias_slope[setting].clone()
        optimizer.step()
    return weight.detach(), bias.detach()


def sgd(weight, bias, rate, decay):
    groups = [{"params": [weight], "weight_decay": decay}, {"params": [bias], "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=rate, momentum=MOMENTUM)


def lars(weight, bias, rate, decay):
    groups = [{"params": [weight], "weight_decay": decay}, {"params": [bias], "decay": False}]
    return LARS(groups, rate, MOMENTUM)


def adamw(weight, bias, rate, decay):
    groups = [{"params": [weight], "weight_decay": decay}, {"params": [bias], "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate)


@pytest.mark.parametrize(("rule", "make"), [("sgd", sgd), ("lars", lars), ("adamw", adamw)])
@pytest.mark.parametrize("setting", range(S))
def test_each_setting_moves_as_the_reference(rule, make, setting):
    weight, bias = moved(rule)
    expected = reference(make, setting)
    torch.testing.assert_close(weight[:, setting], expected[0], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(bias[setting], expected[1], rtol=1e-9, atol=1e-12)


def test_lars_moves_weights_of_zero_by_the_plain_gradient():
    weight, bias = torch.zeros(D, S, C), torch.zeros(S, C)
    slope = torch.ones(D, S, C)
    Updates("lars", weight, bias, torch.zeros(S, 1))(torch.full((S, 1), 0.5), slope, torch.zeros(S, C))
    torch.testing.assert_close(weight, -0.5 * slope)


def test_without_decay_nothing_is_added():
    weight, bias = start()
    Updates("sgd", weight, bias, torch.zeros(S, 1, dtype=torch.float64))(RATES, *slopes()[0])
    expected, _ = start()
    expected.sub_(RATES * slopes()[0][0])
    assert torch.equal(weight, expected)
