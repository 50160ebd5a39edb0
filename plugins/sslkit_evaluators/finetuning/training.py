"""Supervised training of a classifier. Shapes: B images, S pixels a side, D width, K classes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple, final

import numpy as np
import torch
import torch.nn.functional as F
from timm.data import Mixup
from torch import Tensor, nn

from sslkit.interfaces import Backbone, Request, Subject, autocast_of, optimizer, seeds
from sslkit.plugin import LearningRateSchedule, OptimizerSpec, SpecError, ViewSpec
from sslkit_evaluators.finetuning.labeled_images import Images

HEAD_STD = 2e-5  # MAE `main_finetune.py`


class Recipe(NamedTuple):
    """How a copy is trained."""

    epochs: int
    batch_size: int
    accumulate: int
    mixup: float
    cutmix: float
    smoothing: float
    precision: str | None
    optimizer: OptimizerSpec
    schedule: LearningRateSchedule
    crops: ViewSpec
    """Its augmentations; the size is that of the subject's view."""


@final
class Classifier(nn.Module):
    """A backbone and a linear layer on what the readout takes of its tokens."""

    def __init__(self, backbone: Backbone, classes: int, pool: str, precision: str | None) -> None:
        super().__init__()
        self.backbone, self.pool = backbone, pool
        self.head = nn.Linear(backbone.dim, classes)
        nn.init.trunc_normal_(self.head.weight, std=HEAD_STD)
        nn.init.zeros_(self.head.bias)
        device = next(backbone.parameters()).device
        self.to(device)
        self.device = device
        self.precision = precision or ("bfloat16" if device.type == "cuda" else "float32")

    def forward(self, images: Tensor) -> Tensor:
        """Normalized `[B, C, S, S]` -> logits `[B, K]` float32."""
        with autocast_of(self.precision, self.device):
            tokens = self.backbone([Request(images[None], None, "drop", ())])[0]
            pooled = tokens.cls[0] if self.pool == "cls" else tokens.patch[0].mean(1)
            logits: Tensor = self.head(pooled)
        return logits.float()


@contextlib.contextmanager
def own_randomness(device: torch.device) -> Iterator[None]:
    """Torch's and numpy's generators are as they were after the block: timm reads both."""
    state = np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        np.random.set_state(state)


def train(model: Classifier, images: Images, recipe: Recipe, classes: int, seed: int) -> list[float]:
    """Train what of `model` takes gradients; returns the mean loss of every epoch.

    Torch's and numpy's generators are seeded anew at every step; call it inside `own_randomness`.
    """
    order = images.order
    steps, length = recipe.epochs * order.steps_per_epoch, order.steps_per_epoch
    peak = recipe.optimizer.peak_lr(order.batch)
    updates, losses = _updates(model, recipe, peak), []
    trained = [p for p in model.parameters() if p.requires_grad]
    mix = _mixup(recipe, classes)
    feed = images.feed(steps)
    model.train()
    with torch.enable_grad(), contextlib.closing(feed):
        for step in range(steps):
            seeds.seed_torch(seed, step, "finetune")
            np.random.seed(seeds.key(seed, step, "mix") % (1 << 32))
            rate = recipe.schedule.at(step, steps, length, peak)
            optimizer.assign(updates, rate, recipe.optimizer.weight_decay)  # type: ignore[arg-type]
            total = torch.zeros((), device=model.device)
            for batch, labels in images.step(step, feed):
                loss = _loss(model, batch, labels, mix, recipe.smoothing) / recipe.accumulate
                loss.backward()
                total += loss.detach()
            if step == 0:
                _require_reached(model.backbone)
            if recipe.optimizer.clip is not None:
                optimizer.clip(trained, recipe.optimizer.clip, "global")
            updates.step()
            updates.zero_grad(set_to_none=True)
            losses.append(total)
    model.eval()
    return torch.stack(losses).view(recipe.epochs, length).mean(1).tolist()


def _require_reached(backbone: Backbone) -> None:
    """A copy whose answers come from elsewhere would stay as it is, and only the classifier would be trained."""
    trained = [p for p in backbone.parameters() if p.requires_grad]
    if trained and all(p.grad is None for p in trained):
        raise SpecError(
            f"none of the {len(trained)} parameters of the network's copy takes part in its answers; the network (or "
            "its `forward`) reads another network than itself"
        )


def _updates(model: Classifier, recipe: Recipe, peak: float) -> torch.optim.Optimizer:
    scales = layer_scales(recipe.optimizer, model.backbone)
    groups = optimizer.groups(recipe.optimizer, model.named_parameters(), (), MappingProxyType(dict(scales)))
    return optimizer.make(recipe.optimizer, groups, peak=peak)


def layer_scales(spec: OptimizerSpec, backbone: Backbone) -> Mapping[nn.Parameter, float]:
    """Share of the rate of each parameter. Raises SpecError where the network has no such layers."""
    try:
        return optimizer.layer_scales(spec, backbone)
    except SpecError as error:
        raise SpecError(f"{str(error).partition(': ')[2]}; set `layer_decay: null`") from None


def _mixup(recipe: Recipe, classes: int) -> Mixup | None:
    if not (recipe.mixup or recipe.cutmix):
        return None
    return Mixup(recipe.mixup, recipe.cutmix, label_smoothing=recipe.smoothing, num_classes=classes)


def _loss(model: Classifier, images: Tensor, labels: Tensor, mix: Mixup | None, smoothing: float) -> Tensor:
    if mix is None:
        return F.cross_entropy(model(images), labels, label_smoothing=smoothing)
    mixed, shares = mix(images, labels)
    return F.cross_entropy(model(mixed), shares)


@torch.no_grad()
def test_logits(model: Classifier, subject: Subject) -> tuple[Tensor, Tensor]:
    """Logits `[N, K]` and labels `[N]` of the test images, cut at the center as the readout cuts them."""
    rows = subject.rows("test", lambda images, _: model(images))
    assert rows.labels is not None, "evaluators of labeled images are given no others"
    return rows.values, rows.labels
