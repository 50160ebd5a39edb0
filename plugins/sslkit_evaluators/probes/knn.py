"""Weighted k-nearest-neighbor classification."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, final

import torch
from torch import Tensor

from sslkit.functional.nearest_neighbors import Engine, Neighbors, approximate, nearest, recall
from sslkit.interfaces import Evaluator, Features, Predictions, Scores, Setting, Subject, class_problems
from sslkit.plugin import DataError, Problem
from sslkit_evaluators.probes.labeled_features import labeled, same_classes

CHECKED = 256
"""Test images whose neighbors are also searched exactly, to measure the recall of an approximate search."""


class Search(NamedTuple):
    """How neighbors are found; fields of `KNN`."""

    engine: Engine
    exact_up_to: int
    probes: int


class Vote(NamedTuple):
    """One pair of k and T."""

    k: int
    temperature: float
    metrics: Mapping[str, float]
    """`accuracy` and, with at least five classes, `top5`."""
    guesses: Tensor
    """`[M]`."""


@final
class KNNEvaluator(Evaluator):
    """Each of the k nearest training images votes for its class with exp(cosine / T), for every pair of k and T."""

    reads_images = False

    def __init__(
        self, ks: tuple[int, ...], temperatures: tuple[float, ...], search: Search, protocol: str
    ) -> None:
        self.ks, self.temperatures, self.search, self.protocol = ks, temperatures, search, protocol

    def check(self, setting: Setting) -> Iterator[Problem]:
        yield from class_problems(setting)
        images = len(setting.sources["train"])
        if max(self.ks) > images:
            yield Problem(
                "k",
                f"asks for {max(self.ks)} neighbors, but there are only {images} training images; give a smaller k",
            )

    def unused(self, setting: Setting) -> Iterator[Problem]:
        images, limit = len(setting.sources["train"]), self.search.exact_up_to
        search = f"as the search in {images:,} training images is"
        if images <= limit:
            yield Problem(
                "probes", f"has no effect, {search} exact; leave it out, or set `exact_up_to` below {images}"
            )
        else:
            yield Problem(
                "engine",
                f"has no effect, {search} approximate, which is faiss's; leave it out, or raise `exact_up_to`",
            )

    def __call__(self, subject: Subject) -> Scores:
        """`accuracy` and, with at least five classes, `top5` of the first pair; shares of the test images.

        With several pairs, those of each as `accuracy_k20_T0.07`; of an approximate search its `recall`.
        """
        train, test = labeled(subject, "train"), labeled(subject, "test")
        classes = same_classes(train, test)
        if max(self.ks) > len(train.labels):
            raise DataError(
                f"k-NN asks for k = {max(self.ks)} neighbors, but there are only {len(train.labels)} training "
                "images; give a smaller `k`"
            )
        near, recall = self._near(train, test, subject.seed)
        votes = [self._vote(near, train, test, classes, k, t) for k in self.ks for t in self.temperatures]
        metrics = dict(votes[0].metrics)
        if len(votes) > 1:
            named = ((f"{name}_k{v.k}_T{v.temperature:g}", x) for v in votes for name, x in v.metrics.items())
            metrics |= dict(named)
        tables = {"grid": [_row(v) for v in votes]} if len(votes) > 1 else {}
        return Scores(metrics | recall, Predictions(test.labels, votes[0].guesses), tables)

    def _near(self, train: Features, test: Features, seed: int) -> tuple[Neighbors, dict[str, float]]:
        """Neighbors for the largest k, and the search's recall."""
        k, bank = max(self.ks), train.values
        if len(bank) <= self.search.exact_up_to:
            return nearest(test.values, bank, k, self.search.engine), {}
        near = approximate(test.values, bank, k, self.search.probes)
        order = torch.randperm(len(test.values), generator=torch.Generator().manual_seed(seed))
        rows = order[:CHECKED].to(bank.device)
        return near, {"recall": recall(near.rows[rows], nearest(test.values[rows], bank, k).rows)}

    def _vote(
        self, near: Neighbors, train: Features, test: Features, classes: int, k: int, temperature: float
    ) -> Vote:
        scores = vote(near.similarity[:, :k], train.labels[near.rows[:, :k]], classes, temperature)
        ranked = rank_classes(scores)
        hit = ranked == test.labels[:, None]
        metrics = {"accuracy": hit[:, 0].double().mean()}
        if classes >= 5:
            metrics["top5"] = hit[:, : min(5, k)].any(dim=1).double().mean()  # `eval_knn.py`: min(5, k)
        return Vote(k, temperature, {name: float(x) for name, x in metrics.items()}, ranked[:, 0])


def _row(trial: Vote) -> dict[str, object]:
    return {"k": trial.k, "temperature": trial.temperature, **trial.metrics}


def vote(similarity_Mk: Tensor, labels_Mk: Tensor, classes: int, temperature: float) -> Tensor:
    """Sum of exp(similarity / temperature) per class, `[M, classes]`, over that of the nearest neighbor.

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
