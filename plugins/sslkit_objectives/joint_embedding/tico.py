"""TiCo. Q crops of queries, U of keys, B images, D width."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import NamedTuple, final

import torch
from torch import Tensor

from sslkit.functional.feature_std import feature_std
from sslkit.functional.info_nce import unit
from sslkit.functional.joint_embedding_losses import second_moment, tico_terms
from sslkit.interfaces import Objective, Output, Tokens
from sslkit.nn.projection_head import ProjectionHead
from sslkit.plugin import Env, Projection
from sslkit_objectives.all_ranks import of_all_ranks
from sslkit_objectives.sides import Sides


class Contrast(NamedTuple):
    """How embeddings are kept apart."""

    weight: float
    """Of the term that does, rho."""
    memory: float
    """Share of the old second moments kept at each step, beta."""
    symmetric: bool
    """Every crop is a query once."""


@final
class TiCoObjective(Objective):
    """Queries close to keys of a moving average, and along directions that few embeddings have taken."""

    compares = True
    moments: Tensor

    def __init__(self, sides: Sides, projector: Projection, contrast: Contrast, env: Env) -> None:
        super().__init__()
        self.sides, self.contrast, self.passes = sides, contrast, sides.passes
        self.crops = {view: 2 // len(sides.views) for view in sides.views}
        self.projector = ProjectionHead(projector, env.net("student").dim)
        self.key_projector = copy.deepcopy(self.projector).requires_grad_(False)
        self.twins, self.follows = {"projector": "key_projector"}, sides.net
        self.register_buffer("moments", torch.zeros(projector.out, projector.out))

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        """1 - cos + rho q C q, with second moments C that include those of this step."""
        online, other = tokens[0].cls, tokens[-1].cls
        apart, every = self.sides.key_view is not None, self.contrast.symmetric
        embeddings = self.projector.per_crop(online if every or apart else online[:1])
        with torch.no_grad():
            keys = self.key_projector.per_crop(other if every or apart else other[1:])
            step = second_moment(unit(of_all_ranks(embeddings)))
            moments = self.moments.to(step.dtype).lerp(step, 1 - self.contrast.memory)
        terms = tico_terms(embeddings, keys, moments, same_crops=every)
        loss = 1 + terms["invariance"] + self.contrast.weight * terms["contrast"]
        metrics = {name: value.detach() for name, value in terms.items()}
        return Output(loss, {**metrics, "feature_std": feature_std(embeddings)}, {"moments": moments[None]})

    def commit(self, carry: Mapping[str, Tensor]) -> None:
        """Keep the second moments, of which every rank has the same."""
        self.moments.copy_(carry["moments"].mean(0))
