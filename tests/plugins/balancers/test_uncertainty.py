"""Learned variances."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sslkit import UncertaintyWeighting
from sslkit_balancers.uncertainty import UncertaintyBalancer


def balancer(form: str, log_variance: Tensor, bound: float | None = None) -> UncertaintyBalancer:
    made = UncertaintyWeighting(form=form, bound=bound).build([f"t{i}" for i in range(len(log_variance))])  # type: ignore[arg-type]
    assert isinstance(made, UncertaintyBalancer)
    made.log_variance = torch.nn.Parameter(log_variance.clone())
    return made


def test_the_regression_form_equals_its_golden(golden) -> None:  # type: ignore[no-untyped-def]
    """LibMTL@4336804 LibMTL/weighting/UW.py: total, weights and gradients on both sides, in float64."""
    arrays = golden("uncertainty_weighting")
    made, losses = balancer("regression", arrays["log_var"]), arrays["losses"].requires_grad_()
    total = made(losses)
    total.backward()
    near = {"rtol": 0, "atol": 1e-10}
    assert torch.allclose(total, arrays["libmtl_total"], **near)
    assert torch.allclose(made.factors(), arrays["libmtl_weights"], **near)
    assert torch.allclose(made.log_variance.grad, arrays["libmtl_grad_log_var"], **near)
    assert torch.allclose(losses.grad, arrays["libmtl_grad_losses"], **near)


def test_the_doubled_form_equals_its_golden(golden) -> None:  # type: ignore[no-untyped-def]
    """yaringal/multi-task-learning-example@86e2c88, the criterion of the notebook: exactly twice the other."""
    arrays = golden("uncertainty_weighting")
    made = balancer("doubled", arrays["log_var"])
    total = made(arrays["losses"])
    total.backward()
    assert torch.allclose(total, arrays["gal_total"], rtol=0, atol=1e-10)
    assert torch.allclose(made.log_variance.grad, arrays["gal_grad_log_var"], rtol=0, atol=1e-10)
    assert torch.allclose(total, 2 * arrays["libmtl_total"], rtol=0, atol=1e-10)


def test_the_positive_form() -> None:
    """Liebel and Koerner 2018, equation 3: L / (2 sigma^2) + ln(1 + sigma^2), never below 0."""
    sigma = torch.tensor([0.01, 0.5, 3.0], dtype=torch.float64)
    losses = torch.tensor([0.0, 2.0, 5.0], dtype=torch.float64)
    total = balancer("positive", 2 * sigma.log())(losses)
    assert total.item() == pytest.approx(
        (losses / (2 * sigma**2) + (1 + sigma**2).log()).sum().item(), rel=1e-12
    )
    assert total > 0
    assert balancer("regression", 2 * sigma.log())(losses * 0) < 0, "what the other form can do"


@pytest.mark.parametrize("form", ["regression", "doubled"])
def test_the_best_variance_is_the_loss(form: str) -> None:
    """d/ds is 0 at e^s = L, so that no loss outweighs another."""
    losses = torch.tensor([0.1, 7.0], dtype=torch.float64)
    made = balancer(form, losses.log())
    made(losses).backward()
    assert made.log_variance.grad is not None
    assert made.log_variance.grad.abs().max() < 1e-12
    assert torch.allclose(made.factors() * losses, (made.factors() * losses)[0])


def test_weights_are_the_slopes_of_the_total() -> None:
    for form in ("regression", "positive", "doubled"):
        made = balancer(form, torch.tensor([-1.0, 0.0, 2.0]))
        losses = torch.rand(3, generator=torch.Generator().manual_seed(0)).requires_grad_()
        made(losses).backward()
        assert torch.allclose(made.factors(), losses.grad)  # type: ignore[arg-type]


def test_bounds_are_kept_after_the_step_and_can_be_left_again() -> None:
    made = balancer("regression", torch.tensor([-12.0, 3.0, 11.0]), bound=10.0)
    with torch.no_grad():
        made.commit(torch.zeros(3), None)
    assert made.log_variance.tolist() == [-10, 3, 10]
    made(torch.tensor([1.0, 1.0, 1.0])).backward()
    assert made.log_variance.grad is not None
    assert (made.log_variance.grad != 0).all(), "a bound holds nobody for good"
    free = balancer("regression", torch.tensor([-12.0]))
    with torch.no_grad():
        free.commit(torch.zeros(1), None)
    assert free.log_variance.item() == -12


def test_defaults() -> None:
    made = UncertaintyWeighting().build(["a", "b"])
    assert made(torch.tensor([1.0, 3.0])).item() == 2.0
    assert [name for name, _ in made.named_parameters()] == ["log_variance"]
    assert not made.weighs_gradients
