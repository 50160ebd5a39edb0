"""Logistic regression with a penalty selected on held-out images, and ROC AUC. Shapes: N images, D width, C classes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sslkit.functional.logistic_regression import Fitted, fit_logistic


class Search(NamedTuple):
    """Which penalties are tried, and on which images."""

    strengths: tuple[float, ...]
    iterations: int
    held: Tensor
    """`[N]` bool, the images that choose."""

    def only(self, rows: Tensor) -> Search:
        """For the images `rows` `[N]` alone."""
        return self._replace(held=self.held[rows])


class Classifier(NamedTuple):
    """The selected penalty and its fit to all images."""

    fitted: Fitted
    strength: float
    holdout_accuracy: float
    """Of the fit without the held-out images."""

    def probabilities(self, values: Tensor) -> Tensor:
        """`[N, C]` float64."""
        return self.fitted.logits(values).softmax(1)


def classify(values: Tensor, labels: Tensor, classes: int, search: Search) -> Classifier:
    """The strength of highest held-out accuracy, of equals that of lowest cross-entropy, and a fit to all images.

    Args:
        values: `[N, D]`.
        labels: `[N]` int64.
        classes: C.
        search: how. Where no image is held out, or no other is left, all images choose.
    """
    held = search.held
    if not bool(held.any()) or bool(held.all()):
        kept = held = torch.ones_like(held)
    else:
        kept = ~held
    trials = []
    for strength in sorted(set(search.strengths)):
        fitted = fit_logistic(values[kept], labels[kept], classes, strength, search.iterations)
        chance = fitted.logits(values[held]).log_softmax(1)
        right = float((chance.argmax(1) == labels[held]).double().mean())
        trials.append((right, float(chance.gather(1, labels[held, None]).mean()), strength))
    accuracy, _, best = max(trials)
    return Classifier(fit_logistic(values, labels, classes, best, search.iterations), best, accuracy)


def auc(scores: Tensor, positive: Tensor) -> float | None:
    """Area under the ROC curve: the chance that a positive image scores above a negative one; equals count half.

    Args:
        scores: `[N]`.
        positive: `[N]` bool.

    Returns:
        None where all images are positive, or none is.
    """
    yes = int(positive.sum())
    no = len(positive) - yes
    if not yes or not no:
        return None
    _, place, counts = scores.unique(return_inverse=True, return_counts=True)
    upper = counts.cumsum(0).double()
    rank = (upper - (counts.double() - 1) / 2)[place]
    return float((rank[positive].sum() - yes * (yes + 1) / 2) / (yes * no))
