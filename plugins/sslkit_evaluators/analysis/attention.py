"""Attention entropy, distance and head diversity, `attention@1`. B images, L blocks, H heads, T tokens, N patches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, final

import torch
from torch import Tensor

from sslkit.functional.attention_statistics import (
    attention_distance,
    attention_entropy,
    head_distances,
    mean_to_others,
    patch_distances,
)
from sslkit.functional.diverse_images import varied
from sslkit.interfaces import Attentions, Backbone, Evaluator, Scores, Split, Subject
from sslkit.plugin import DataError
from sslkit_evaluators.analysis.attention_figures import Maps, draw_layers, draw_maps
from sslkit_evaluators.analysis.sample import choose

AT_ONCE = 1 << 21
"""Weights of one head that are held at once, over images: 100 MB with 12 heads."""
TABLES = ("head_divergence", "head_cosine", "entropy", "distance", "class_entropy")
"""Statistics of a head, in the order in which `statistics` stacks them."""


class Looked(NamedTuple):
    """Patch size and tokens of a network's attention."""

    patch: int
    """Pixels."""
    has_class: bool


@final
class AttentionEvaluator(Evaluator):
    """Statistics of every head of every block, over random images."""

    labeled = False

    def __init__(self, split: Split, max_images: int, shown: int, protocol: str) -> None:
        """Of at most `max_images` images of `split`; maps of `shown` ones are drawn."""
        self.split, self.max_images, self.shown, self.protocol = split, max_images, shown, protocol
        self.needs = (split,)

    def __call__(self, subject: Subject) -> Scores:
        """Means over blocks and of the last block, tables by block and head, maps of a few images.

        Raises:
            DataError: raw pixels are scored, or the network has diverged.
            SpecError: the network has no attention to read.
        """
        backbone, source = subject.backbone(), subject.source(self.split)
        only = choose(len(source), self.max_images, subject.seed)
        means = subject.rows(self.split, partial(_in_parts, backbone), only).values.double().mean(0)
        if not bool(means.isfinite().all()):
            raise DataError("the attention of some head is not finite: the network has diverged")
        layout = _look(backbone, subject)
        names = TABLES if layout.has_class else TABLES[:-1]
        tables: dict[str, list[list[float]]] = {name: means[:, i].tolist() for i, name in enumerate(names)}
        metrics = summary(means, names, layout.patch)
        figures: dict[str, Callable[[Path], None]] = {"layers": partial(draw_layers, tables)}
        if self.shown:
            labels = source.labels
            shown = only[varied(None if labels is None else labels[only], len(only), self.shown)]
            figures["maps"] = partial(draw_maps, self._maps(subject, shown))
        return Scores(metrics, None, {**tables, "patch": layout.patch}, figures)

    def _maps(self, subject: Subject, shown: Tensor) -> Maps:
        """Images and the maps of the last block."""
        backbone, view = subject.backbone(), subject.view
        grid = backbone.grid(view.size)

        def make(images: Tensor, indices: Tensor) -> Tensor:
            return torch.cat([images.flatten(1), last_maps(backbone.attentions(images)).flatten(1)], dim=1)

        rows = subject.rows(self.split, make, shown).values.cpu()
        pixels, maps = rows.split(
            [view.channels * view.size**2, rows.shape[1] - view.channels * view.size**2], 1
        )
        images = pixels.unflatten(1, (view.channels, view.size, view.size))
        return Maps(images, maps.unflatten(1, (-1, grid.rows, grid.cols)), view.mean, view.std, view.show)


def statistics(attentions: Attentions) -> Tensor:
    """Those of `TABLES` for each image, block and head: `[B, L, 5, H]` float32; the last is 0 without a class token."""
    distances = patch_distances(attentions.grid.rows, attentions.grid.cols)
    layers = []
    for weights in attentions.layers:
        entropy, apart = attention_entropy(weights), head_distances(weights)
        far = attention_distance(weights, distances, attentions.prefix)
        class_entropy = entropy[..., 0] if attentions.has_class else torch.zeros_like(far)
        values = (
            mean_to_others(apart.jensen_shannon),
            mean_to_others(apart.cosine),
            entropy.mean(-1),
            far,
            class_entropy,
        )
        layers.append(torch.stack(values, dim=1))
    return torch.stack(layers, dim=1).float()


def last_maps(attentions: Attentions) -> Tensor:
    """What the class token of the last block, or the mean patch, takes of each patch: `[B, H, N]`."""
    *_, last = attentions.layers
    queries = slice(0, 1) if attentions.has_class else slice(attentions.prefix, None)
    return last[:, :, queries, attentions.prefix :].mean(2)


def summary(values: Tensor, names: Sequence[str], patch: int) -> dict[str, float]:
    """The mean of each statistic over blocks, and with `_last` that of the last; distances in pixels too.

    Args:
        values: `[L, 5, H]`, as `statistics` makes them.
        names: of the statistics, from `TABLES`.
        patch: pixels of a patch.
    """
    metrics: dict[str, float] = {}
    for i, name in enumerate(names):
        metrics |= {name: float(values[:, i].mean()), f"{name}_last": float(values[-1, i].mean())}
    for name in ("distance", "distance_last"):
        metrics[name.replace("distance", "distance_pixels")] = metrics[name] * patch
    return metrics


def _in_parts(backbone: Backbone, images: Tensor, indices: Tensor) -> Tensor:
    """`statistics` of a batch, a few images at a time."""
    patches = backbone.grid(images.shape[-1]).patches
    size = max(1, AT_ONCE // (patches + 1) ** 2)
    return torch.cat([statistics(backbone.attentions(part)) for part in images.split(size)])


def _look(backbone: Backbone, subject: Subject) -> Looked:
    """From images of zeros; no block runs for it."""
    view = subject.view
    device = next(backbone.parameters()).device
    attentions = backbone.attentions(torch.zeros(1, view.channels, view.size, view.size, device=device))
    return Looked(attentions.grid.patch, attentions.has_class)
