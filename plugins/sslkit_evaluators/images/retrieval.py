"""Image retrieval: mean average precision and recall at k. Shapes: Q queries, N gallery images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, final

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.interfaces import Evaluator, Features, Scores, Setting, Split, Subject, class_problems
from sslkit.plugin import DataError, Problem
from sslkit_evaluators.probes.labeled_features import labeled, same_classes

AT_ONCE = 1 << 24
"""Similarities that are ranked at a time."""


class Ranked(NamedTuple):
    """How well each query found its class, for those with an image of it in the gallery."""

    queries: Tensor
    """`[Q]` int64, which queries these are."""
    precision: Tensor
    """`[Q]` float64, average precision over the whole ranking."""
    first: Tensor
    """`[Q]` int64, rank of the first image of the query's class, from 0."""


@final
class RetrievalEvaluator(Evaluator):
    """Mean average precision and recall at k by cosine, of test images among gallery images."""

    reads_images = False

    def __init__(self, gallery: Split, ks: tuple[int, ...], protocol: str) -> None:
        self.gallery, self.ks, self.protocol = gallery, ks, protocol
        self.needs = ("test",) if gallery == "test" else ("train", "test")

    def check(self, setting: Setting) -> Iterator[Problem]:
        """There are classes, and some query has an image of its own in the gallery."""
        if self.gallery == "train":
            yield from class_problems(setting)
        queries, gallery = setting.sources["test"].labels, setting.sources[self.gallery].labels
        if queries is None or gallery is None:
            return
        others = torch.bincount(gallery, minlength=len(setting.sources["test"].classes))[queries]
        if not bool((others > (self.gallery == "test")).any()):
            yield Problem("gallery", "no test image has an image of its class in the gallery")

    def __call__(self, subject: Subject) -> Scores:
        """`map`, and `recall_K` for every k: the share of queries with their class among the first k."""
        queries = labeled(subject, "test")
        gallery = queries if self.gallery == "test" else labeled(subject, "train")
        same_classes(gallery, queries)
        ranked = rank(queries, gallery, itself=self.gallery == "train")
        if not len(ranked.queries):
            raise DataError("retrieval: no test image has an image of its class in the gallery")
        metrics = {"map": float(ranked.precision.mean())}
        metrics |= {f"recall_{k}": float((ranked.first < k).double().mean()) for k in self.ks}
        by_class = _by_class(ranked, queries)
        table = {"queries": len(ranked.queries), "gallery": len(gallery.labels), "map_by_class": by_class}
        return Scores(metrics, None, table, {"classes": lambda path: draw_bars(path, by_class)})


@torch.no_grad()
def rank(queries: Features, gallery: Features, itself: bool) -> Ranked:
    """Rank `gallery` for every query, ties by lower index; without the query where `itself` is false."""
    bank, precisions, firsts, kept = F.normalize(gallery.values.float(), dim=1), [], [], []
    values = F.normalize(queries.values.float(), dim=1)
    size = max(1, AT_ONCE // len(bank))
    for start in range(0, len(values), size):
        part = slice(start, start + size)
        similarity = values[part] @ bank.T
        rows = torch.arange(len(similarity), device=similarity.device)
        if not itself:
            similarity[rows, start + rows] = -torch.inf  # the last of all, and no image of its class
        order = similarity.sort(dim=1, descending=True, stable=True).indices
        right = gallery.labels[order] == queries.labels[part, None]
        if not itself:
            right[:, -1] = False
        precision, first, has = _precision(right)
        precisions.append(precision[has])
        firsts.append(first[has])
        kept.append(start + rows[has])
    return Ranked(torch.cat(kept), torch.cat(precisions), torch.cat(firsts))


def _precision(right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Average precision, rank of the first hit and whether there is one, of `[Q, N]` hits in order of rank."""
    places = torch.arange(1, right.shape[1] + 1, device=right.device, dtype=torch.float64)
    hits = right.cumsum(1)
    total = hits[:, -1]
    precision = (hits / places * right).sum(1) / total.clamp(min=1)
    return precision, right.int().argmax(1), total > 0


def _by_class(ranked: Ranked, queries: Features) -> dict[str, float]:
    labels = queries.labels[ranked.queries]
    return {
        name: float(ranked.precision[labels == c].mean())
        for c, name in enumerate(queries.classes)
        if bool((labels == c).any())
    }


def draw_bars(path: Path, by_class: dict[str, float]) -> None:
    """Mean average precision of every class."""
    from matplotlib.figure import Figure

    shown = sorted(by_class.items(), key=lambda item: item[1])
    figure = Figure(figsize=(6, 1.2 + 0.25 * len(shown)), layout="constrained")
    axes = figure.subplots()
    axes.barh([name for name, _ in shown], [value for _, value in shown])
    axes.set(xlim=(0, 1), xlabel="mean average precision")
    figure.savefig(path, dpi=120)
