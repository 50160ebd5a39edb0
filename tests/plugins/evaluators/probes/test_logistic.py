"""CLIP's search for the penalty of logistic regression."""

from __future__ import annotations

import math

import pytest
import torch

from sslkit import LogisticRegression
from sslkit.core.evaluator import Features
from sslkit.errors import DataError
from sslkit.functional.logistic_regression import fit_logistic
from sslkit_evaluators.probes.logistic import Search, try_strengths
from tests.plugins.evaluators.subjects import clusters, names, subject

SEARCH = Search((1e-6, 1e-4, 1e-2, 1.0, 1e2, 1e4, 1e6), 4, 0.1, 50, False)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noisy(count, seed):
    values, labels = clusters(count, 4, 8, 1.5, generator(seed))
    return values / values.std(0), labels


def test_the_search_is_clips():
    """Seven decades apart by two, then spacings of 1, 1/2, 1/4 and 1/8 decade about the best."""
    values, labels = noisy(300, 2)
    trials = try_strengths(Features(values, labels, names(4)), 4, SEARCH, 0)
    tried = [t.strength for t in trials]
    assert tried == sorted(tried)
    assert set(SEARCH.strengths) <= set(tried)
    assert 7 < len(tried) <= 7 + 2 * 4
    eighths = [8 * math.log10(strength) for strength in tried]
    assert all(abs(x - round(x)) < 1e-6 for x in eighths)
    best = max(trials, key=lambda t: (t.accuracy, -t.loss))
    near = sorted(abs(math.log10(t.strength / best.strength)) for t in trials)
    assert near[1] <= 0.125 + 1e-9, "the last halving looked beside the best"


def test_a_penalty_for_noise_is_strong_and_for_signal_weak():
    labels = torch.arange(120) % 3
    noise = torch.randn(120, 60, generator=generator(4))
    signal = torch.nn.functional.one_hot(labels, 3).float() * 0.02
    protocol = LogisticRegression(strengths=(1e-4, 1e4), halvings=0, iterations=200).build()
    chosen = {}
    for name, values in {"noise": noise, "signal": signal}.items():
        chosen[name] = protocol(subject((values, labels), (values, labels), 3, 1)).metrics
    assert chosen["signal"]["strength"] == 1e4
    assert chosen["signal"]["accuracy"] == 1
    assert chosen["noise"]["holdout_accuracy"] < 0.7


def test_test_labels_have_no_part_in_the_choice():
    train, test = noisy(200, 0), noisy(60, 1)
    poisoned = (test[0], torch.randint(0, 4, (60,), generator=generator(9)))
    protocol = LogisticRegression(halvings=1, iterations=50).build()
    right, wrong = (protocol(subject(train, x, 4)) for x in (test, poisoned))
    assert right.tables == wrong.tables
    assert right.metrics["strength"] == wrong.metrics["strength"]
    assert torch.equal(right.predictions.guesses, wrong.predictions.guesses)


def test_the_final_fit_uses_all_training_images():
    train, test = noisy(200, 0), noisy(60, 1)
    scores = LogisticRegression(strengths=(0.1, 1.0), halvings=0).build()(subject(train, test, 4))
    fitted = fit_logistic(*train, 4, scores.metrics["strength"], 1000)
    assert torch.equal(scores.predictions.guesses, fitted.logits(test[0]).argmax(1))
    assert [row["strength"] for row in scores.tables["grid"]] == [0.1, 1.0]


def test_a_single_strength_needs_no_holdout():
    train = (torch.eye(3), torch.arange(3))
    scores = LogisticRegression(strengths=(1.0,)).build()(subject(train, train, 3))
    assert scores.metrics == {"accuracy": 1.0, "strength": 1.0}
    with pytest.raises(DataError, match="at least two training images"):
        LogisticRegression().build()(subject(train, train, 3))


def test_standardized_features_do_not_depend_on_their_scale():
    train, test = noisy(200, 0), noisy(60, 1)
    grown = [(x * 1000 + 5, y) for x, y in (train, test)]
    protocol = LogisticRegression(strengths=(1.0,), standardize=True, iterations=200).build()
    here, there = protocol(subject(train, test, 4)), protocol(subject(*grown, 4))
    assert here.metrics == there.metrics


def test_repeats_and_leaves_torchs_generator_alone():
    given = subject(noisy(100, 0), noisy(40, 1), 4)
    protocol = LogisticRegression.example().build()
    before = torch.get_rng_state()
    assert protocol(given).metrics == protocol(given).metrics
    assert torch.equal(torch.get_rng_state(), before)


def test_protocol_names_what_differs():
    assert LogisticRegression().build().protocol == "logistic@1"
    assert LogisticRegression(halvings=0, name="x").build().protocol == "logistic@1(halvings=0)"
