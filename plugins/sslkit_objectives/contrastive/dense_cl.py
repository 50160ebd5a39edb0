"""DenseCL. U crops of keys, B images, N patches, D width."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import NamedTuple, final

import torch
from torch import Tensor

from sslkit.functional.dense_contrast import best_matches, dense_similarity
from sslkit.functional.feature_std import feature_std
from sslkit.functional.info_nce import Keys, contrast_metrics, guess, info_nce, similarity, unit
from sslkit.interfaces import Objective, Output, Tokens
from sslkit.nn.negative_queue import Queue
from sslkit.nn.projection_head import ProjectionHead
from sslkit.plugin import Env, Projection
from sslkit_objectives.sides import Sides


class Heads(NamedTuple):
    """Of images, and of patches."""

    projector: Projection
    dense_projector: Projection


class Contrast(NamedTuple):
    """What queries are compared with."""

    temperature: float
    queue: int
    dense_weight: float


@final
class DenseCLObjective(Objective):
    """A query against a key and a queue; so each of its patches, against the key's most similar patch."""

    def __init__(self, sides: Sides, heads: Heads, contrast: Contrast, env: Env) -> None:
        super().__init__()
        self.sides, self.contrast, self.passes = sides, contrast, sides.passes
        self.crops = {view: 2 // len(sides.views) for view in sides.views}
        width = env.net("student").dim
        self.projector = ProjectionHead(heads.projector, width)
        self.dense_projector = ProjectionHead(heads.dense_projector, width)
        self.key_projector = copy.deepcopy(self.projector).requires_grad_(False)
        self.key_dense_projector = copy.deepcopy(self.dense_projector).requires_grad_(False)
        self.twins = {"projector": "key_projector", "dense_projector": "key_dense_projector"}
        self.follows = sides.net
        self.queue = Queue(contrast.queue, heads.projector.out)
        self.dense_queue = Queue(contrast.queue, heads.dense_projector.out)

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        """The weighted sum of both losses, mean over crops of keys."""
        seen, other = tokens
        first = 1 if self.sides.key_view is None else 0
        query, patches = self.projector(seen.cls[0]), self.dense_projector(seen.patch[0])
        with torch.no_grad():
            keys = unit(self.key_projector.per_crop(other.cls[first:]))
            key_patches = self.key_dense_projector.per_crop(other.patch[first:])
            matches = [best_matches(seen.patch[0], crop) for crop in other.patch[first:]]
        of_images = [
            similarity(unit(query), Keys(key, 0), queue=self.queue(), in_batch=False) for key in keys
        ]
        of_patches = [
            dense_similarity(patches, crop, match, self.dense_queue())
            for crop, match in zip(key_patches, matches, strict=True)
        ]
        single, dense = (
            torch.stack([info_nce(pair, self.contrast.temperature) for pair in pairs]).mean()
            for pairs in (of_images, of_patches)
        )
        weight = self.contrast.dense_weight
        metrics = {"image_loss": single.detach(), "patch_loss": dense.detach()}
        metrics["loss_share"] = single.detach() / guess(of_images[0])
        metrics["dense_accuracy"] = contrast_metrics(of_patches[0])["accuracy"]
        metrics |= {"feature_std": feature_std(query[None]), **contrast_metrics(of_images[0])}
        pooled = unit(key_patches.mean(-2))
        carry = {"keys": keys.transpose(0, 1), "dense_keys": pooled.transpose(0, 1)}
        return Output((1 - weight) * single + weight * dense, metrics, carry)

    def commit(self, carry: Mapping[str, Tensor]) -> None:
        """Put keys into one queue, and the mean over the patches of each into the other, crop by crop."""
        self.queue.commit(carry["keys"].transpose(0, 1).flatten(0, 1))
        self.dense_queue.commit(carry["dense_keys"].transpose(0, 1).flatten(0, 1))
