"""Low-shot classification: accuracy by number of labeled images, on frozen features."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev
from typing import Literal, NamedTuple, final

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.functional.logistic_regression import fit_logistic
from sslkit.functional.nearest_neighbors import nearest
from sslkit.interfaces import Evaluator, Features, Scores, Setting, Subject, class_problems
from sslkit.plugin import Problem
from sslkit_evaluators.probes.knn import rank_classes, vote
from sslkit_evaluators.probes.labeled_features import labeled, same_classes

Head = Literal["logistic", "knn"]
ITERATIONS = 300  # MSN `logistic_eval.py`: max_epochs


class Recipe(NamedTuple):
    """The fields of `LowShot`."""

    shares: tuple[float, ...]
    shots: tuple[int, ...]
    draws: int
    head: Head
    strength: float
    k: int
    temperature: float


class Point(NamedTuple):
    """One size of the labeled set."""

    name: str
    """`1pct`, `5shot`."""
    images: int
    accuracies: list[float]
    """Of each draw; of one where the set is the whole."""


@final
class LowShotEvaluator(Evaluator):
    """A classifier on few labeled images, for several sizes and draws, and the area under its curve."""

    reads_images = False

    def __init__(self, recipe: Recipe, protocol: str) -> None:
        self.recipe, self.protocol = recipe, protocol

    def check(self, setting: Setting) -> Iterator[Problem]:
        yield from class_problems(setting)

    def __call__(self, subject: Subject) -> Scores:
        """`area` under the curve of accuracy by log size, and `accuracy_SIZE` of each size, means over draws."""
        train, test = labeled(subject, "train"), labeled(subject, "test")
        classes = same_classes(train, test)
        if self.recipe.head == "logistic":
            train, test = (x._replace(values=_placed(x.values)) for x in (train, test))
        points = list(self._points(train, test, classes, subject.seed))
        areas = [area([(p.images, p.accuracies[i % len(p.accuracies)]) for p in points]) for i in self._draws]
        metrics = {"area": fmean(areas), **{f"accuracy_{p.name}": fmean(p.accuracies) for p in points}}
        table = {"sizes": [_row(p) for p in points], "area": {"mean": fmean(areas), "std": _std(areas)}}
        return Scores(metrics, None, table, {"curve": lambda path: draw_curve(path, points)})

    @property
    def _draws(self) -> range:
        return range(self.recipe.draws)

    def _points(self, train: Features, test: Features, classes: int, seed: int) -> Iterator[Point]:
        labels = train.labels.cpu()
        ranks = [rank_in_class(labels, classes, seed + draw) for draw in self._draws]
        sizes = torch.bincount(labels, minlength=classes)
        for name, wanted in self._wanted(sizes):
            subsets = [(rank < wanted[labels]).to(train.labels.device) for rank in ranks]
            images = int(wanted.sum())
            draws = subsets[:1] if images == len(labels) else subsets
            yield Point(name, images, [self._accuracy(train, test, rows, classes) for rows in draws])

    def _wanted(self, sizes: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Name and images of each class, from few to many."""
        settings = [(f"{shots}shot", sizes.clamp(max=shots)) for shots in self.recipe.shots]
        for share in self.recipe.shares:
            count = (sizes * share).round().long().clamp(min=1).minimum(sizes)
            settings.append((f"{100 * share:g}pct", count))
        yield from sorted(settings, key=lambda item: int(item[1].sum()))

    def _accuracy(self, train: Features, test: Features, rows: Tensor, classes: int) -> float:
        values, labels = train.values[rows], train.labels[rows]
        if self.recipe.head == "logistic":
            fitted = fit_logistic(values, labels, classes, self.recipe.strength, ITERATIONS)
            guesses = fitted.logits(test.values).argmax(1)
        else:
            near = nearest(test.values, values, min(self.recipe.k, len(values)))
            scores = vote(near.similarity, labels[near.rows], classes, self.recipe.temperature)
            guesses = rank_classes(scores)[:, 0]
        return float((guesses == test.labels).double().mean())


def rank_in_class(labels: Tensor, classes: int, seed: int) -> Tensor:
    """`[N]`: the place of each image in a random order of its class. The first n of each are a set of n shots."""
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed % (1 << 63)))
    order = shuffled[torch.sort(labels[shuffled], stable=True).indices]
    count = torch.bincount(labels, minlength=classes)
    place = torch.arange(len(labels)) - (count.cumsum(0) - count)[labels[order]]
    return torch.empty_like(place).scatter_(0, order, place)


def area(points: Sequence[tuple[int, float]]) -> float:
    """Area under accuracy by the logarithm of the images, over its width: a mean accuracy, 0 to 1.

    By trapezoids, after the area under the learning curve of Guyon et al. (2011). `points` have rising sizes; those of
    one size count as their mean, and a single size gives its accuracy.
    """
    merged = {size: fmean(y for x, y in points if x == size) for size, _ in points}
    xs, ys = [math.log(size) for size in merged], list(merged.values())
    if len(xs) == 1:
        return ys[0]
    pairs = zip(pairwise(xs), pairwise(ys), strict=True)
    return sum((right - left) * (low + high) / 2 for (left, right), (low, high) in pairs) / (xs[-1] - xs[0])


def draw_curve(path: Path, points: Sequence[Point]) -> None:
    """Mean accuracy by images, with the deviation over draws."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    means = [fmean(p.accuracies) for p in points]
    axes.errorbar(
        [p.images for p in points], means, [_std(p.accuracies) for p in points], marker="o", capsize=3
    )
    for point, mean in zip(points, means, strict=True):
        axes.annotate(point.name, (point.images, mean), textcoords="offset points", xytext=(4, -12))
    axes.set(xscale="log", xlabel="labeled images", ylabel="accuracy", ylim=(0, 1))
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def _placed(values: Tensor) -> Tensor:
    """Each image's features less their own mean, at unit length (MSN `logistic_eval.py`)."""
    return F.normalize(values - values.mean(1, keepdim=True), dim=1)


def _std(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0


def _row(point: Point) -> dict[str, object]:
    accuracies = point.accuracies
    row = {"size": point.name, "images": point.images, "draws": len(accuracies)}
    return {**row, "mean": fmean(accuracies), "std": _std(accuracies), "accuracies": accuracies}
