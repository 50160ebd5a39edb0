"""Linear probe: softmax regression on frozen features, every learning rate and weight decay at once.

Shapes: N images, B of a batch, D width, S settings (rates x decays), C classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple, final

import torch
import torch.nn.functional as F
from torch import Tensor

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
from sslkit.plugin import DataError, Problem
from sslkit_evaluators.probes.labeled_features import labeled, same_classes
from sslkit_evaluators.probes.updates import Rule, Updates

EPS = 1e-6  # MAE `main_linprobe.py`: BatchNorm1d(affine=False, eps=1e-6)
INITIAL_STD = 0.01  # DINO and DINOv2 `eval_linear.py`, MAE `main_linprobe.py`
RATE_BATCH = 256  # DINO and DINOv2 state rates for this batch
SCORED_AT_ONCE = 1024
FEW = 16
"""Settings up to which softmax is taken over the last dimension."""


class Recipe(NamedTuple):
    """How the classifiers are trained; the fields of `LinearProbe`."""

    learning_rates: tuple[float, ...]
    epochs: int
    batch_size: int
    holdout: float
    weight_decays: tuple[float, ...] = (0.0,)
    optimizer: Rule = "sgd"
    standardize: bool = True

    @property
    def settings(self) -> list[tuple[float, float]]:
        """Every (learning rate, weight decay), in the order of the classifiers."""
        return list(product(self.learning_rates, self.weight_decays))


class Classifiers(NamedTuple):
    """S linear classifiers on features standardized alike."""

    mean: Tensor
    """`[D]`."""
    scale: Tensor
    """`[D]`, what is divided by."""
    weight: Tensor
    """`[D, S, C]`."""
    bias: Tensor
    """`[S, C]`."""

    def logits(self, values: Tensor) -> Tensor:
        """`[B, S, C]` for features `[B, D]`."""
        return logits((values - self.mean) / self.scale, self.weight, self.bias)

    def only(self, setting: int) -> Classifiers:
        """One of them."""
        part = slice(setting, setting + 1)
        return self._replace(weight=self.weight[:, part], bias=self.bias[part])


class Choice(NamedTuple):
    """What the held-out images chose."""

    classifier: Classifiers
    """The selected one alone."""
    rate: float
    decay: float
    accuracy: float
    """On the held-out images."""
    grid: list[dict[str, object]]
    """Every setting with its accuracy and cross-entropy there."""


@final
class LinearEvaluator(Evaluator):
    """Softmax regression, by default with SGD; MAE's affine-free batch norm, its statistics fixed."""

    reads_images = False

    def __init__(self, recipe: Recipe, protocol: str) -> None:
        self.recipe, self.protocol = recipe, protocol

    def check(self, setting: Setting) -> Iterator[Problem]:
        yield from class_problems(setting)
        yield from holdout_problems(setting.sources["train"])

    def __call__(self, subject: Subject) -> Scores:
        """`accuracy` on test, and the `holdout_accuracy` and `learning_rate` that the holdout chose."""
        train, test = labeled(subject, "train"), labeled(subject, "test")
        classes = same_classes(train, test)
        best = choose(train, classes, self.recipe, subject.seed)
        guesses = guess(best.classifier, test.values)[:, 0]
        metrics = {
            "accuracy": float((guesses == test.labels).double().mean()),
            "holdout_accuracy": best.accuracy,
            "learning_rate": best.rate,
        }
        if len(self.recipe.weight_decays) > 1:
            metrics["weight_decay"] = best.decay
        return Scores(metrics, Predictions(test.labels, guesses), {"grid": best.grid})


def choose(train: Features, classes: int, recipe: Recipe, seed: int) -> Choice:
    """The best classifier on the held-out part of `train`.

    Equal accuracies go to the lower cross-entropy.

    Raises:
        DataError: no class has enough images to hold one out, or no classifier stayed finite.
    """
    generator = torch.Generator().manual_seed(seed)
    held = held_out(train.labels, classes, recipe.holdout, generator)
    fitted = fit(train.values[~held], train.labels[~held], classes, recipe, generator)
    accuracy, loss = score(fitted, train.values[held], train.labels[held])
    usable = [s for s in range(len(loss)) if math.isfinite(loss[s])]
    if not usable:
        raise DataError("no setting of the linear probe stayed finite; give lower `learning_rates`")
    best = max(usable, key=lambda s: (accuracy[s], -loss[s]))
    grid = [_row(*settings) for settings in zip(recipe.settings, accuracy, loss, strict=True)]
    return Choice(fitted.only(best), *recipe.settings[best], accuracy[best], grid)


def _row(setting: tuple[float, float], accuracy: float, loss: float) -> dict[str, object]:
    row = {"learning_rate": setting[0], "weight_decay": setting[1], "holdout_accuracy": accuracy}
    return {**row, "holdout_loss": loss if math.isfinite(loss) else None}


def held_out(labels: Tensor, classes: int, share: float, generator: torch.Generator) -> Tensor:
    """`hold_out` on the device of `labels`. Raises DataError where no class has two images."""
    held = hold_out(labels.cpu(), classes, share, generator).to(labels.device)
    if not bool(held.any()):
        raise DataError(
            f"choosing on held-out images needs a class with at least two training images to hold one out; "
            f"there are {len(held)} images in {classes} classes"
        )
    return held


def hold_out(labels: Tensor, classes: int, share: float, generator: torch.Generator) -> Tensor:
    """`[N]` bool: a random `share` of each class, rounded, at least one image and never all of them."""
    shuffled = torch.randperm(len(labels), generator=generator)
    order = shuffled[torch.sort(labels[shuffled], stable=True).indices]
    count = torch.bincount(labels, minlength=classes)
    taken = (count * share).round().long().clamp(min=1).minimum((count - 1).clamp(min=0))
    place = torch.arange(len(labels)) - (count.cumsum(0) - count)[labels[order]]
    held = torch.zeros(len(labels), dtype=torch.bool)
    held[order] = place < taken[labels[order]]
    return held


def fit(
    values: Tensor, labels: Tensor, classes: int, recipe: Recipe, generator: torch.Generator
) -> Classifiers:
    """Train one classifier for each setting on `values` `[N, D]`, all on the same batches."""
    mean, scale = standardization(values, recipe.standardize)
    values, goals = (values - mean) / scale, F.one_hot(labels, classes).to(values.dtype)
    start = torch.randn(values.shape[1], 1, classes, generator=generator) * INITIAL_STD
    rates, decays = torch.tensor(recipe.settings).to(values).unbind(1)
    weight = start.to(values).repeat(1, len(rates), 1)
    bias = weight.new_zeros(weight.shape[1:])
    size = min(recipe.batch_size, len(labels))
    peak = rates[:, None] * (size / RATE_BATCH)
    steps = recipe.epochs * (len(labels) // size)
    updates = Updates(recipe.optimizer, weight, bias, decays[:, None])
    for step, rows in enumerate(batches(len(labels), size, recipe.epochs, generator, values.device)):
        rate = peak * (0.5 * (1 + math.cos(math.pi * step / steps)))
        updates(rate, *gradient(values[rows], goals[rows], weight, bias))
    return Classifiers(mean, scale, weight, bias)


def standardization(values: Tensor, standardize: bool) -> tuple[Tensor, Tensor]:
    """What is subtracted from features `[N, D]`, and what they are divided by, `[D]` each."""
    if not standardize:
        return torch.zeros_like(values[0]), torch.ones_like(values[0])
    return values.mean(0), (values.var(0, correction=0) + EPS).sqrt()


def batches(
    count: int, size: int, epochs: int, generator: torch.Generator, device: torch.device
) -> Iterator[Tensor]:
    """Indices of full batches, reshuffled in every epoch; the rest of an epoch is left out."""
    for _ in range(epochs):
        order = torch.randperm(count, generator=generator).to(device)
        yield from order[: count // size * size].view(-1, size)


def gradient(values: Tensor, goals: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of each setting's mean cross-entropy, shaped as `weight` `[D, S, C]` and `bias` `[S, C]`.

    In closed form: (softmax - one-hot) / B is the gradient of the logits. `goals` is one-hot, `[B, C]`.
    """
    slope = _slope(logits(values, weight, bias), goals)
    return (values.T @ slope.flatten(1)).view_as(weight), slope.sum(0)


def _slope(scores: Tensor, goals: Tensor) -> Tensor:
    """(softmax - one-hot) / B, `[B, S, C]`; of many settings with the classes in front, which is much faster on a CPU.

    The two ways differ in the last bit, so the default grid keeps the one that its results were made with.
    """
    if scores.shape[1] <= FEW:
        return (scores.softmax(-1) - goals[:, None]) / len(scores)
    slope = scores.permute(2, 0, 1).contiguous().softmax(0)
    return slope.sub_(goals.T[:, :, None]).div_(len(scores)).permute(1, 2, 0).contiguous()


def logits(values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`[B, S, C]` by one matrix product."""
    return (values @ weight.flatten(1)).view(len(values), *bias.shape) + bias


def guess(classifiers: Classifiers, values: Tensor) -> Tensor:
    """The class that each setting ranks first, `[N, S]`."""
    return torch.cat([classifiers.logits(part).argmax(-1) for part in values.split(SCORED_AT_ONCE)])


def score(classifiers: Classifiers, values: Tensor, labels: Tensor) -> tuple[list[float], list[float]]:
    """Accuracy (0 to 1) and mean cross-entropy of each setting."""
    hits, losses = [], []
    for start in range(0, len(labels), SCORED_AT_ONCE):
        part = slice(start, start + SCORED_AT_ONCE)
        out, goal = classifiers.logits(values[part]), labels[part, None]
        hits.append((out.argmax(-1) == goal).double().sum(0))
        chance = out.log_softmax(-1).gather(-1, goal[..., None].expand(-1, out.shape[1], 1)).squeeze(-1)
        losses.append(-chance.double().sum(0))
    count = len(labels)
    return (torch.stack(hits).sum(0) / count).tolist(), (torch.stack(losses).sum(0) / count).tolist()
