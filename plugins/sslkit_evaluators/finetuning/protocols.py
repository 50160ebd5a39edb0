"""Fine-tuning, LoRA and adapter protocols, each on a copy of the network."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import final

from torch import Tensor, nn

from sslkit.interfaces import (
    Backbone,
    Evaluator,
    Predictions,
    Scores,
    Setting,
    Subject,
    class_problems,
    seeds,
)
from sslkit.nn.low_rank import add_low_rank, target_layers
from sslkit.plugin import DataError, Problem, SpecError
from sslkit_evaluators.finetuning.adapter import adapted, add_adapters
from sslkit_evaluators.finetuning.drop_path import places, set_drop_path
from sslkit_evaluators.finetuning.labeled_images import Images, too_few
from sslkit_evaluators.finetuning.training import (
    Classifier,
    Recipe,
    layer_scales,
    own_randomness,
    test_logits,
    train,
)


@final
class FinetuneEvaluator(Evaluator):
    """All weights of the copy are trained."""

    def __init__(self, recipe: Recipe, drop_path: float, protocol: str) -> None:
        self.recipe, self.drop_path, self.protocol = recipe, drop_path, protocol

    def check(self, setting: Setting) -> Iterator[Problem]:
        """The network has layers and stochastic depth as far as they are asked for."""
        yield from _problems(setting, self.recipe)
        if setting.net is not None:
            yield from _refused("drop_path", places, setting.net, self.drop_path)
            yield from _refused("layer_decay", layer_scales, self.recipe.optimizer, setting.net)

    def __call__(self, subject: Subject) -> Scores:
        """`accuracy`, `top5` and `train_loss`."""
        return tune(subject, self.recipe, lambda net: set_drop_path(net, self.drop_path))[0]


@final
class LoRAEvaluator(Evaluator):
    """Low-rank changes of the copy's weights are trained."""

    def __init__(
        self, recipe: Recipe, rank: int, alpha: float, targets: tuple[str, ...], protocol: str
    ) -> None:
        self.recipe, self.rank, self.alpha, self.targets = recipe, rank, alpha, targets
        self.protocol = protocol

    def check(self, setting: Setting) -> Iterator[Problem]:
        yield from _problems(setting, self.recipe)
        if setting.net is not None:
            yield from _refused("targets", target_layers, setting.net, self.targets)

    def __call__(self, subject: Subject) -> Scores:
        """`accuracy`, `top5`, `train_loss` and `trainable_share`."""
        return _with_share(
            *tune(subject, self.recipe, lambda net: add_low_rank(net, self.targets, self.rank, self.alpha))
        )


@final
class AdapterEvaluator(Evaluator):
    """Bottlenecks inside the copy are trained."""

    def __init__(self, recipe: Recipe, bottleneck: int, protocol: str) -> None:
        self.recipe, self.bottleneck, self.protocol = recipe, bottleneck, protocol

    def check(self, setting: Setting) -> Iterator[Problem]:
        yield from _problems(setting, self.recipe)
        if setting.net is not None:
            yield from _refused("method", adapted, setting.net)

    def __call__(self, subject: Subject) -> Scores:
        """`accuracy`, `top5`, `train_loss` and `trainable_share`."""
        return _with_share(*tune(subject, self.recipe, lambda net: add_adapters(net, self.bottleneck)))


def tune(subject: Subject, recipe: Recipe, adapt: Callable[[Backbone], None]) -> tuple[Scores, Classifier]:
    """Train a copy of the network, changed by `adapt`, and score it after the last epoch.

    The subject's network stays as it is. Every rank trains alike.

    Raises:
        DataError: the splits name different classes or only one, there are too few images, or the training diverged.
    """
    classes = _classes(subject)
    backbone = copied(subject.backbone())
    device = next(backbone.parameters()).device
    with own_randomness(device):
        seeds.seed_torch(subject.seed, "finetune")
        adapt(backbone)
        model = Classifier(backbone, classes, subject.pool, recipe.precision)
        images = Images(subject, recipe.crops, recipe.batch_size, recipe.accumulate, device)
        losses = train(model, images, recipe, classes, subject.seed)
        logits, labels = test_logits(model, subject)
    _require_finite(losses, logits)
    ranked = logits.argsort(dim=1, descending=True, stable=True)
    hit = ranked == labels[:, None]
    metrics = {"accuracy": float(hit[:, 0].double().mean())}
    if classes >= 5:
        metrics["top5"] = float(hit[:, :5].any(1).double().mean())
    metrics["train_loss"] = losses[-1]
    figures = {"loss": lambda path: draw_losses(path, losses)}
    return Scores(metrics, Predictions(labels, ranked[:, 0]), {"train_loss": losses}, figures), model


def copied(backbone: Backbone) -> Backbone:
    """A copy, all of whose parameters take gradients, fixed positions and teachers' weights included."""
    clone = copy.deepcopy(backbone)
    for parameter in clone.parameters():
        parameter.grad = None
        parameter.requires_grad_(True)
    return clone


def draw_losses(path: Path, losses: list[float]) -> None:
    """Training loss by epoch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(range(1, len(losses) + 1), losses, marker="." if len(losses) < 50 else None)
    axes.set(xlabel="epoch", ylabel="training loss")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def trainable_share(model: nn.Module) -> float:
    """Values that take gradients over all."""
    counts = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, trained in counts if trained) / sum(n for n, _ in counts)


def _with_share(scores: Scores, model: Classifier) -> Scores:
    return scores._replace(metrics={**scores.metrics, "trainable_share": trainable_share(model)})


def _problems(setting: Setting, recipe: Recipe) -> Iterator[Problem]:
    """There are classes, and images for a batch."""
    yield from class_problems(setting)
    yield from recipe.crops.augment_problems(setting.sources["train"].channels)
    images = len(setting.sources["train"])
    if images < 2 * recipe.accumulate:
        yield Problem("batch_size", too_few(2 * recipe.accumulate, images))


def _refused(field: str, look: Callable[..., object], *arguments: object) -> Iterator[Problem]:
    """What `look` raises about the network."""
    try:
        look(*arguments)
    except SpecError as error:
        yield Problem(field, str(error))


def _classes(subject: Subject) -> int:
    train, test = (subject.source(split).classes for split in ("train", "test"))
    if train != test:
        only = sorted(set(train) ^ set(test))
        detail = f"in only one of them: {', '.join(only[:5])}" if only else "the same names in another order"
        raise DataError(
            f"train has {len(train)} classes and test {len(test)}; {detail}. "
            "Give an evaluator's `train` and `test` the same classes."
        )
    if len(train) == 1:
        raise DataError(
            f"all images are of one class, {train[0]!r}, so there is nothing to tell apart; give data of "
            "several classes"
        )
    return len(train)


def _require_finite(losses: list[float], logits: Tensor) -> None:
    if not (all(map(math.isfinite, losses)) and bool(logits.isfinite().all())):
        raise DataError(
            "the training has diverged: a loss or an answer is not finite. Give a lower `lr` or a `clip`, or look "
            "whether the network itself has diverged"
        )
