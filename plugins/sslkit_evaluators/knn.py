"""Weighted k-nearest neighbours."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from sslkit.core.evaluator import Evaluator, Predictions, Scores, Subject
from sslkit.errors import DataError
from sslkit.functional.neighbours import Engine, nearest
from sslkit_evaluators.labelled import labelled, same_classes


@final
class KNearest(Evaluator):
    """Each of the k nearest training images votes for its class with exp(cosine / T)."""

    def __init__(self, k: int, temperature: float, engine: Engine, protocol: str) -> None:
        self.k, self.temperature, self.engine, self.protocol = k, temperature, engine, protocol

    def __call__(self, subject: Subject) -> Scores:
        """`accuracy` and, with at least five classes, `top5`; shares of the test images."""
        train, test = labelled(subject, "train"), labelled(subject, "test")
        classes = same_classes(train, test)
        if self.k > len(train.labels):
            raise DataError(
                f"k-NN asks for k = {self.k} neighbours, but there are only {len(train.labels)} training "
                "images; give a smaller `k`"
            )
        near = nearest(test.values, train.values, self.k, self.engine)
        scores = vote(near.similarity, train.labels[near.rows], classes, self.temperature)
        ranked = rank_classes(scores)
        hit = ranked == test.labels[:, None]
        metrics = {"accuracy": hit[:, 0].double().mean()}
        if classes >= 5:
            metrics["top5"] = hit[:, : min(5, self.k)].any(dim=1).double().mean()  # `eval_knn.py`: min(5, k)
        found = {name: float(value) for name, value in metrics.items()}
        return Scores(found, Predictions(test.labels, ranked[:, 0]))


def vote(similarity_Mk: Tensor, labels_Mk: Tensor, classes: int, temperature: float) -> Tensor:
    """Sum of exp(similarity / temperature) per class, `[M, classes]`, over that of the nearest neighbour.

    `similarity_Mk` and `labels_Mk` are `[M, k]`, nearest first. Dividing by the first vote changes no ranking
    and keeps small temperatures from overflowing.
    """
    weights = ((similarity_Mk - similarity_Mk[:, :1]) / temperature).exp()
    scores = weights.new_zeros(len(weights), classes)
    for rank in range(
        weights.shape[1]
    ):  # one vote a row and call: the order of the sums is fixed on a GPU too
        scores.scatter_add_(1, labels_Mk[:, rank, None], weights[:, rank, None])
    return scores


def rank_classes(scores: Tensor) -> Tensor:
    """Classes by falling score, ties by lower class, `[M, classes]`."""
    return torch.sort(scores, dim=1, descending=True, stable=True).indices
