"""Contrastive learning with InfoNCE. V crops of queries, U of keys, B images, D width of embeddings."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Literal, NamedTuple, final

import torch
from torch import Tensor, nn

from sslkit.functional.feature_std import feature_std
from sslkit.functional.info_nce import (
    Keys,
    Similarity,
    contrast_metrics,
    gathered,
    guess,
    info_nce,
    similarity,
    unit,
)
from sslkit.interfaces import Objective, Output, Tokens
from sslkit.nn.crop_heads import CropHeads, Sharing, predictor_of
from sslkit.nn.negative_queue import Queue
from sslkit.nn.projection_head import ProjectionHead
from sslkit.plugin import Env, Projection
from sslkit_objectives.sides import Sides


class Heads(NamedTuple):
    """Of queries and keys, and of queries after it."""

    projector: Projection
    predictor: Projection | None
    predictor_per: Sharing


class Contrast(NamedTuple):
    """What a query is compared with, and how the loss is scaled; as the fields of `infonce` say."""

    joint_norm: bool
    temperature: float
    learn_temperature: bool
    max_scale: float
    in_batch: bool
    all_crops: bool
    exclude_self: bool
    queue: int
    queue_first: bool
    gather: Literal["gradient", "values", "none"]
    symmetric: bool
    directions: Literal["mean", "sum"]
    scale_2t: bool


@final
class InfoNCEObjective(Objective):
    """Every query against its candidates."""

    def __init__(self, sides: Sides, heads: Heads, contrast: Contrast, env: Env) -> None:
        super().__init__()
        projector, predictor = heads.projector, heads.predictor
        self.sides, self.contrast = sides, contrast
        self.student_keys = sides.net == "student"
        self.compares = contrast.in_batch
        self.passes = sides.passes
        self.crops = {view: 2 // len(sides.views) for view in sides.views}
        self.projector = ProjectionHead(projector, env.net("student").dim)
        self.predictor: nn.Module = nn.Identity()
        if predictor is not None:
            queries = env.view(sides.view).crops if contrast.symmetric or sides.key_view is not None else 1
            self.predictor = predictor_of(predictor, projector.out, heads.predictor_per, queries)
        if not self.student_keys:
            self.key_projector = copy.deepcopy(self.projector).requires_grad_(False)
            self.twins, self.follows = {"projector": "key_projector"}, sides.net
        self.queue = Queue(contrast.queue, projector.out) if contrast.queue else None
        if contrast.learn_temperature:
            self.log_scale = nn.Parameter(torch.tensor(-math.log(contrast.temperature)))

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        """The mean or sum over directions."""
        embeddings_VBD, keys_UBD = self._embed(tokens[0].cls, tokens[-1].cls)
        queries = unit(self._head(self.predictor, embeddings_VBD))
        pairs = self._compared(queries, unit(keys_UBD))
        temperature = self._temperature()
        losses = torch.stack([info_nce(pair, temperature) for pair in pairs])
        loss = losses.sum() if self.contrast.directions == "sum" else losses.mean()
        if self.contrast.scale_2t:
            loss = loss * (2 * temperature)
        queued = keys_UBD[:1] if self.contrast.queue_first else keys_UBD
        carry = {} if self.queue is None else {"keys": unit(queued).detach().transpose(0, 1)}
        return Output(loss, self._metrics(pairs, losses, embeddings_VBD), carry)

    def commit(self, carry: Mapping[str, Tensor]) -> None:
        """Put the keys of the step into the queue, crop by crop, and keep a learned temperature in its bounds."""
        if self.queue is not None:
            self.queue.commit(carry["keys"].transpose(0, 1).flatten(0, 1))
        if self.contrast.learn_temperature:
            with torch.no_grad():
                self.log_scale.clamp_(0, math.log(self.contrast.max_scale))

    def _embed(self, online: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings of queries `[V, B, D]` and of keys `[U, B, D]` from features of the first and the last pass."""
        both_ways, apart = self.contrast.symmetric, self.sides.key_view is not None
        first_key = 0 if both_ways or apart else 1
        if self.student_keys and not apart:
            every = self._head(self.projector, online)
            return (every, every) if both_ways else (every[:1], every[first_key:])
        queries = self._head(self.projector, online if both_ways or apart else online[:1])
        if self.student_keys:
            return queries, self._head(self.projector, other)
        with torch.no_grad():
            return queries, self._head(self.key_projector, other[first_key:])

    def _head(self, head: nn.Module, features: Tensor) -> Tensor:
        """Crops through a head, together or in turn."""
        if isinstance(head, CropHeads):
            return head.per_crop(features)
        if not isinstance(head, ProjectionHead):
            return features
        return head(features) if self.contrast.joint_norm else head.per_crop(features)

    def _compared(self, queries_VBD: Tensor, keys_UBD: Tensor) -> list[Similarity]:
        """One for each pair of a crop of queries and another of keys."""
        contrast = self.contrast
        gather = contrast.gather if contrast.in_batch else "none"
        keys: list[Keys] = [gathered(crop, gather) for crop in keys_UBD.unbind()]
        return [
            similarity(
                query,
                keys[u],
                within=keys[v] if contrast.all_crops else None,
                exclude_self=contrast.exclude_self,
                queue=None if self.queue is None else self.queue(),
                in_batch=contrast.in_batch,
            )
            for v, query in enumerate(queries_VBD.unbind())
            for u in range(len(keys))
            if not (contrast.symmetric and u == v)
        ]

    def _temperature(self) -> Tensor | float:
        return (-self.log_scale).exp() if self.contrast.learn_temperature else self.contrast.temperature

    @torch.no_grad()
    def _metrics(self, pairs: list[Similarity], losses: Tensor, embeddings: Tensor) -> dict[str, Tensor]:
        by_pair = [{**contrast_metrics(p), "loss_share": losses[i] / guess(p)} for i, p in enumerate(pairs)]
        means = {name: torch.stack([one[name] for one in by_pair]).mean() for name in by_pair[0]}
        learned = {"temperature": (-self.log_scale).exp()} if self.contrast.learn_temperature else {}
        return {**means, **learned, "feature_std": feature_std(embeddings)}
