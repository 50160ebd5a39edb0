"""Semantic masking: whole k-means clusters of patch features."""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from torch import Tensor
from torch.nn import functional as F

from sslkit.interfaces import Draw, Encode, Masker, Scene
from sslkit_maskers.guided.ranking import hide_highest
from sslkit_maskers.patch_shares import Counts


class KMeans(NamedTuple):
    """How the patches of an image are grouped."""

    clusters: int
    iterations: int
    cosine: bool
    """Directions of features count, not their lengths."""


@final
class SemanticSampler(Masker):
    """Groups each image's patches by k-means and hides groups in random order until the count is reached."""

    def __init__(self, view: str, net: str, counts: Counts, means: KMeans) -> None:
        super().__init__()
        self.passes = (Encode(view, net=net),)
        self.visible: int | None = counts.visible
        self.most, self.guided = counts.hidden, counts.guided
        self.means = means

    def sample(self, draw: Draw, scene: Scene) -> Tensor:
        """Hidden patches, `[*rows, N]` bool; the patches of the last group, hidden in part, are random ones."""
        labels = clustered(draw, scene.tokens[0].patch, self.means)
        turn = draw.uniform(self.means.clusters)
        return hide_highest(draw, turn.gather(-1, labels), self.guided, self.most)


def clustered(draw: Draw, features: Tensor, means: KMeans) -> Tensor:
    """The cluster of each patch, `[*rows, N]` int64, for `features` `[*rows, N, D]`.

    Lloyd's iterations in float64, so that devices agree; a cluster that loses all its patches keeps its center.
    """
    points = features.double()
    if means.cosine:
        points = F.normalize(points, dim=-1)
    centers = _spread_out(draw, points, means.clusters)
    each = torch.arange(means.clusters, device=points.device)
    for _ in range(means.iterations):
        member = (_nearest(points, centers)[..., None] == each).to(points.dtype)
        size = member.sum(-2)[..., None]
        mean = member.transpose(-1, -2) @ points / size.clamp(min=1)
        centers = torch.where(size > 0, F.normalize(mean, dim=-1) if means.cosine else mean, centers)
    return _nearest(points, centers)


def _nearest(points: Tensor, centers: Tensor) -> Tensor:
    """Index of the center next to each point, `[*rows, N]`."""
    return (points @ centers.transpose(-1, -2) - centers.square().sum(-1)[..., None, :] / 2).argmax(-1)


def _spread_out(draw: Draw, points: Tensor, count: int) -> Tensor:
    """A random point and then, `count` in all, always the one farthest from those taken (Gonzalez 1985)."""
    index = draw.integers(points.shape[-2])[..., None]
    taken, gap = [], torch.full(points.shape[:-1], torch.inf, dtype=points.dtype, device=points.device)
    for _ in range(count):
        center = points.gather(-2, index[..., None].expand(*index.shape, points.shape[-1]))
        taken.append(center)
        gap = torch.minimum(gap, (points - center).square().sum(-1))
        index = gap.argmax(-1, keepdim=True)
    return torch.cat(taken, dim=-2)
