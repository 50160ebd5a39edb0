"""Logistic regression against scikit-learn."""

from __future__ import annotations

import pytest
import torch
from sklearn.linear_model import LogisticRegression as Reference

from sslkit.functional.logistic_regression import fit_logistic


def noisy(count, seed):
    """Overlapping clusters of four classes in eight dimensions, away from the origin."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 4
    centers = torch.randn(4, 8, generator=torch.Generator().manual_seed(99))
    return centers[labels] + 1.5 * torch.randn(count, 8, generator=generator) + 5, labels


@pytest.mark.parametrize("strength", [0.01, 1.0, 100.0])
def test_equals_scikit_learn(strength):
    """`sklearn.linear_model.LogisticRegression(C)`, multinomial, its intercept without penalty.

    The reference gets centerd features, which is the same problem, since it would not converge on others.
    """
    values, labels = noisy(300, 0)
    fitted = fit_logistic(values, labels, 4, strength, 1000)
    reference = Reference(C=strength, tol=1e-8, max_iter=5000)
    centerd = (values.double() - values.double().mean(0)).numpy()
    reference.fit(centerd, labels.numpy())
    expected = torch.from_numpy(reference.predict_log_proba(centerd))
    torch.testing.assert_close(fitted.logits(values).log_softmax(1), expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(fitted.weight.T, torch.from_numpy(reference.coef_), rtol=1e-3, atol=1e-3)


def test_the_gradient_is_zero_at_the_end():
    values, labels = noisy(200, 1)
    values = values - values.mean(0)
    fitted = fit_logistic(values, labels, 4, 1.0, 1000)
    weight, bias = (x.clone().requires_grad_() for x in fitted)
    loss = torch.nn.functional.cross_entropy(values.double() @ weight + bias, labels)
    (loss + weight.square().sum() / (2 * 1.0 * 200)).backward()
    assert weight.grad.abs().max() < 2e-6
    assert bias.grad.abs().max() < 2e-6


def test_parts_change_nothing(monkeypatch):
    values, labels = noisy(200, 1)
    whole = fit_logistic(values, labels, 4, 1.0, 200)
    monkeypatch.setattr("sslkit.functional.logistic_regression.AT_ONCE", 33)
    torch.testing.assert_close(
        fit_logistic(values, labels, 4, 1.0, 200).weight, whole.weight, rtol=0, atol=1e-4
    )


def test_a_warm_start_finds_the_same():
    values, labels = noisy(200, 1)
    far = fit_logistic(values, labels, 4, 0.01, 200)
    warm, cold = (fit_logistic(values, labels, 4, 1.0, 1000, s) for s in (far, None))
    torch.testing.assert_close(warm.weight, cold.weight, rtol=0, atol=1e-4)
    assert torch.equal(far.weight, fit_logistic(values, labels, 4, 0.01, 200).weight), (
        "the start is not changed"
    )


def test_two_classes_mirror_each_other():
    values, labels = noisy(200, 3)
    fitted = fit_logistic(values, labels % 2, 2, 1.0, 1000)
    torch.testing.assert_close(fitted.weight[:, 0], -fitted.weight[:, 1], rtol=0, atol=1e-5)
    assert fitted.weight.dtype == fitted.bias.dtype == torch.float64


def test_a_class_without_images_becomes_unlikely():
    values, labels = noisy(200, 4)
    fitted = fit_logistic(values, labels, 5, 1.0, 1000)
    assert bool((fitted.logits(values).argmax(1) < 4).all())
    assert bool((fitted.logits(values).softmax(1)[:, 4] < 1e-3).all())
