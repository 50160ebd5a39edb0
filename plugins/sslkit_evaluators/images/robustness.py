"""Corruption robustness: a classifier of clean images, tested on corrupted ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, final

import torch
from torch import Tensor

from sslkit.functional.logistic_regression import fit_logistic
from sslkit.functional.nearest_neighbors import nearest
from sslkit.functional.pixel_normalization import normalized, unnormalized
from sslkit.interfaces import Evaluator, Scores, Setting, Subject, class_problems, mean_interval, seeds
from sslkit.plugin import Problem
from sslkit_evaluators.images.corruptions import CORRUPTIONS, corrupt
from sslkit_evaluators.probes.knn import rank_classes, vote
from sslkit_evaluators.probes.labeled_features import labeled, same_classes
from sslkit_evaluators.probes.linear import standardization

ITERATIONS = 1000
RESAMPLES = 2000
"""Of images, for the interval."""


class Trial(NamedTuple):
    """One corruption at one severity; severity 0 is the clean images."""

    corruption: str
    severity: int
    guesses: Tensor
    accuracy: float


@final
class RobustnessEvaluator(Evaluator):
    """Mean accuracy over corruptions and severities, and each of them."""

    def __init__(
        self, corruptions: tuple[str, ...], severities: tuple[int, ...], classifier: str, k: int, temperature: float,
        strength: float, protocol: str,
    ) -> None:  # fmt: skip
        self.corruptions, self.severities, self.classifier = (
            corruptions or tuple(CORRUPTIONS),
            severities,
            classifier,
        )
        self.k, self.temperature, self.strength, self.protocol = k, temperature, strength, protocol

    def check(self, setting: Setting) -> Iterator[Problem]:
        yield from class_problems(setting)
        channels = setting.sources["test"].channels
        if "jpeg" in self.corruptions and channels not in (1, 3):
            others = ", ".join(name for name in self.corruptions if name != "jpeg")
            yield Problem(
                "corruptions",
                f"jpeg holds images of 1 or 3 channels, and these have {channels}; write the others: [{others}]",
            )

    def __call__(self, subject: Subject) -> Scores:
        """`accuracy` over all corruptions and severities, `clean_accuracy`, `relative`, `CORRUPTION_accuracy`."""
        train, test = labeled(subject, "train"), labeled(subject, "test")
        classify = self._classifier(train.values, train.labels, same_classes(train, test))
        clean = _trial("clean", 0, classify(test.values), test.labels)
        trials = [
            _trial(name, severity, classify(_features(subject, name, severity)), test.labels)
            for name in self.corruptions
            for severity in self.severities
        ]
        mean = sum(t.accuracy for t in trials) / len(trials)
        metrics = {"accuracy": mean, "clean_accuracy": clean.accuracy}
        metrics |= {"relative": mean / clean.accuracy} if clean.accuracy else {}
        curves = {name: [t.accuracy for t in trials if t.corruption == name] for name in self.corruptions}
        metrics |= {f"{name}_accuracy": sum(curve) / len(curve) for name, curve in curves.items()}
        right = torch.stack([t.guesses == test.labels for t in trials]).double().mean(0)
        # images are what was drawn at random, not pairs of an image and a corruption
        interval = mean_interval(right.cpu().numpy(), resamples=RESAMPLES) if len(right) > 1 else None
        intervals = {} if interval is None else {"accuracy": (interval.low, interval.high)}
        table = {
            "severities": list(self.severities),
            "clean": clean.accuracy,
            "accuracy": curves,
        }
        figures = {"severity": lambda path: draw_curves(path, self.severities, clean.accuracy, curves)}
        return Scores(metrics, None, table, figures, intervals)

    def _classifier(self, values: Tensor, labels: Tensor, classes: int) -> Callable[[Tensor], Tensor]:
        """Features `[M, D]` -> classes `[M]`."""
        if self.classifier == "logistic":
            mean, scale = standardization(values, True)
            fitted = fit_logistic((values - mean) / scale, labels, classes, self.strength, ITERATIONS)
            return lambda queries: fitted.logits((queries - mean) / scale).argmax(1)
        k = min(self.k, len(labels))

        def neighbors(queries: Tensor) -> Tensor:
            near = nearest(queries, values, k)
            return rank_classes(vote(near.similarity, labels[near.rows], classes, self.temperature))[:, 0]

        return neighbors


def _features(subject: Subject, name: str, severity: int) -> Tensor:
    """Features of the corrupted test images."""
    view = subject.view

    def make(images: Tensor, indices: Tensor) -> Tensor:
        draw = seeds.draw(subject.seed, name, severity, rows=indices)
        spoiled = corrupt(unnormalized(images, view.mean, view.std), name, severity, draw)
        return subject.encode(normalized(spoiled, view.mean, view.std))

    return subject.rows("test", make).values


def _trial(name: str, severity: int, guesses: Tensor, labels: Tensor) -> Trial:
    return Trial(name, severity, guesses, float((guesses == labels).double().mean()))


def draw_curves(
    path: Path, severities: Sequence[int], clean: float, curves: Mapping[str, Sequence[float]]
) -> None:
    """Accuracy by severity, a line for each corruption."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, curve in curves.items():
        axes.plot([0, *severities], [clean, *curve], marker="o", markersize=3, label=name)
    axes.set(xlabel="severity (0: clean)", ylabel="accuracy", ylim=(0, 1))
    axes.legend(fontsize=8, ncols=2)
    figure.savefig(path, dpi=120)
