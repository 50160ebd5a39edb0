"""Logistic classifiers whose penalty is chosen, and areas under ROC curves."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import roc_auc_score

from sslkit.functional.logistic_regression import fit_logistic
from sslkit_evaluators.concepts.classify import Search, auc, classify


def noisy(count=120, dim=6, seed=0):
    """Three overlapping clusters."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=generator)
    centers = torch.randn(3, dim, generator=torch.Generator().manual_seed(9))
    return centers[labels] + torch.randn(count, dim, generator=generator), labels


def every(count, step=5):
    return torch.arange(count) % step == 0


@pytest.mark.parametrize("ties", [1000, 7, 2])
def test_the_area_equals_scikit_learns(ties):
    generator = torch.Generator().manual_seed(ties)
    positive = torch.rand(150, generator=generator) < 0.3
    scores = ((torch.rand(150, generator=generator) + 0.4 * positive) * ties).round()
    assert auc(scores, positive) == pytest.approx(roc_auc_score(positive.numpy(), scores.numpy()), abs=1e-12)


def test_areas_of_known_answer():
    positive = torch.tensor([False, False, True, True])
    assert auc(torch.tensor([0.1, 0.2, 0.3, 0.4]), positive) == 1
    assert auc(torch.tensor([0.4, 0.3, 0.2, 0.1]), positive) == 0
    assert auc(torch.zeros(4), positive) == 0.5
    assert auc(torch.zeros(4), torch.ones(4, dtype=torch.bool)) is None
    assert auc(torch.zeros(4), torch.zeros(4, dtype=torch.bool)) is None


def test_held_out_images_choose_and_all_are_fitted():
    values, labels = noisy()
    search = Search((1e-4, 1.0, 1e4), 500, every(120))
    found = classify(values, labels, 3, search)
    rows = []
    for strength in search.strengths:
        fitted = fit_logistic(values[~search.held], labels[~search.held], 3, strength, 500)
        said = fitted.logits(values[search.held]).log_softmax(1)
        right = (said.argmax(1) == labels[search.held]).double().mean().item()
        rows.append((right, said.gather(1, labels[search.held, None]).mean().item(), strength))
    best = max(rows)
    assert (found.strength, found.holdout_accuracy) == (best[2], best[0])
    whole = fit_logistic(values, labels, 3, best[2], 500)
    assert torch.equal(found.fitted.weight, whole.weight)
    torch.testing.assert_close(found.probabilities(values), whole.logits(values).softmax(1))


def test_noise_wants_a_strong_penalty_and_signal_a_weak_one():
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(120) % 2
    noise = torch.randn(120, 60, generator=generator)
    signal = torch.nn.functional.one_hot(labels, 2).double() * 0.05
    search = Search((1e-4, 1e4), 300, every(120, 4))
    assert classify(noise, labels, 2, search).holdout_accuracy < 0.75
    assert classify(signal, labels, 2, search).strength == 1e4


def test_the_order_of_strengths_does_not_matter():
    values, labels = noisy()
    one, two = (
        classify(values, labels, 3, Search(s, 200, every(120))) for s in ((0.1, 10.0), (10.0, 0.1, 10.0))
    )
    assert one.strength == two.strength
    assert torch.equal(one.fitted.weight, two.fitted.weight)


@pytest.mark.parametrize("held", [False, True])
def test_without_two_parts_all_images_choose(held):
    values, labels = noisy(30)
    found = classify(values, labels, 3, Search((0.1, 10.0), 200, torch.full((30,), held)))
    right = [
        (fit_logistic(values, labels, 3, s, 200).logits(values).argmax(1) == labels).double().mean().item()
        for s in (0.1, 10.0)
    ]
    assert found.holdout_accuracy == max(right)


def test_a_search_among_some_images():
    search = Search((1.0,), 10, torch.tensor([True, False, True, False]))
    assert search.only(torch.tensor([True, True, False, False])).held.tolist() == [True, False]
