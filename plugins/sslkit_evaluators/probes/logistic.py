"""Multinomial logistic regression by L-BFGS. Shapes: N images, D width, C classes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, final

import torch
from torch import Tensor

from sslkit.functional.logistic_regression import Fitted, fit_logistic
from sslkit.interfaces import (
    Evaluator,
    Features,
    Predictions,
    Scores,
    Setting,
    Subject,
    class_problems,
    holdout_problems,
)
from sslkit.plugin import Problem
from sslkit_evaluators.probes.labeled_features import labeled, same_classes
from sslkit_evaluators.probes.linear import held_out, standardization


class Search(NamedTuple):
    """Which penalties are tried; the fields of `LogisticRegression`."""

    strengths: tuple[float, ...]
    halvings: int
    holdout: float
    iterations: int
    standardize: bool


class Trial(NamedTuple):
    """A penalty, how its classifier did on the held-out images, and the classifier."""

    strength: float
    accuracy: float
    loss: float
    fitted: Fitted


@final
class LogisticEvaluator(Evaluator):
    """CLIP's linear probe: an L2 penalty chosen on held-out images, then a fit on all training images."""

    reads_images = False

    def __init__(self, search: Search, protocol: str) -> None:
        self.search, self.protocol = search, protocol

    def check(self, setting: Setting) -> Iterator[Problem]:
        """There are classes, and images to hold out where there is a choice."""
        yield from class_problems(setting)
        if len(self.search.strengths) > 1:
            yield from holdout_problems(setting.sources["train"])

    def __call__(self, subject: Subject) -> Scores:
        """`accuracy`, the selected `strength`, and the `holdout_accuracy` where there was a choice."""
        train, test = labeled(subject, "train"), labeled(subject, "test")
        classes = same_classes(train, test)
        mean, scale = standardization(train.values, self.search.standardize)
        train = train._replace(values=(train.values - mean) / scale)
        metrics, trials = {}, list[Trial]()
        best, start = self.search.strengths[0], None
        if len(self.search.strengths) > 1:
            trials = try_strengths(train, classes, self.search, subject.seed)
            best_trial = max(trials, key=lambda trial: (trial.accuracy, -trial.loss))
            best, start = best_trial.strength, best_trial.fitted
            metrics["holdout_accuracy"] = best_trial.accuracy
        fitted = fit_logistic(train.values, train.labels, classes, best, self.search.iterations, start)
        guesses = fitted.logits((test.values - mean) / scale).argmax(1)
        accuracy = float((guesses == test.labels).double().mean())
        grid = [
            {"strength": t.strength, "holdout_accuracy": t.accuracy, "holdout_loss": t.loss} for t in trials
        ]
        scores = {"accuracy": accuracy, "strength": best, **metrics}
        return Scores(scores, Predictions(test.labels, guesses), {"grid": grid})


def try_strengths(train: Features, classes: int, search: Search, seed: int) -> list[Trial]:
    """Every penalty that is tried, in rising order: those of the spec, then ever closer ones about the best.

    Each fit starts from that of the nearest strength so far.

    Raises:
        DataError: no class has enough images to hold one out.
    """
    held = held_out(train.labels, classes, search.holdout, torch.Generator().manual_seed(seed))
    kept, labels = train.values[~held].double(), train.labels[~held]
    trials: list[Trial] = []

    def add(strength: float) -> None:
        near = min(trials, key=lambda t: abs(math.log(t.strength / strength)), default=None)
        if near is not None and math.isclose(near.strength, strength, rel_tol=1e-9):
            return
        start = None if near is None else near.fitted
        fitted = fit_logistic(kept, labels, classes, strength, search.iterations, start)
        trials.append(Trial(strength, *_judge(fitted, train.values[held], train.labels[held]), fitted))

    for strength in sorted(search.strengths):
        add(strength)
    spacing = _spacing(search.strengths)
    for _ in range(search.halvings):
        spacing /= 2
        best = max(trials, key=lambda t: (t.accuracy, -t.loss)).strength
        for side in (-spacing, spacing):
            add(best * 10**side)
    return sorted(trials, key=lambda t: t.strength)


def _judge(fitted: Fitted, values: Tensor, labels: Tensor) -> tuple[float, float]:
    """Accuracy and mean cross-entropy."""
    out = fitted.logits(values)
    loss = -out.log_softmax(1).gather(1, labels[:, None]).mean()
    return float((out.argmax(1) == labels).double().mean()), float(loss)


def _spacing(strengths: Sequence[float]) -> float:
    """Decades between the closest two of them."""
    decades = sorted(math.log10(strength) for strength in set(strengths))
    return min((b - a for a, b in pairwise(decades)), default=0.0)
