"""NNCLR. V crops, B images, Q places of the support set, D width of embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from typing import NamedTuple, final

import torch
from torch import Tensor

from sslkit.functional.feature_std import feature_std
from sslkit.functional.info_nce import (
    contrast_metrics,
    gathered,
    guess,
    info_nce,
    nearest,
    similarity,
    unit,
)
from sslkit.interfaces import Encode, Objective, Output, Tokens
from sslkit.nn.negative_queue import Queue
from sslkit.nn.projection_head import ProjectionHead
from sslkit.plugin import Env, Projection


class Heads(NamedTuple):
    """Of all crops, and of predictions."""

    projector: Projection
    predictor: Projection


@final
class NNCLRObjective(Objective):
    """The neighbor of each crop in a support set against predictions from every other crop of all images."""

    compares = True

    def __init__(self, view: str, heads: Heads, temperature: float, size: int, env: Env) -> None:
        super().__init__()
        self.passes = (Encode(view),)
        self.crops = {view: 2}
        self.temperature = temperature
        self.projector = ProjectionHead(heads.projector, env.net("student").dim)
        self.predictor = ProjectionHead(heads.predictor, heads.projector.out)
        self.support = Queue(size, heads.projector.out)

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        """Mean over directions; neighbors get no gradient."""
        (seen,) = tokens
        embeddings = self.projector.per_crop(seen.cls)
        keys = [gathered(unit(crop)) for crop in self.predictor.per_crop(embeddings).unbind()]
        with torch.no_grad():
            units = unit(embeddings)
            neighbors = nearest(units, self.support())
        pairs = [similarity(neighbors[v], keys[u]) for v, u in permutations(range(len(keys)), 2)]
        loss = torch.stack([info_nce(pair, self.temperature) for pair in pairs]).mean()
        metrics = {"loss_share": loss.detach() / guess(pairs[0]), "feature_std": feature_std(embeddings)}
        metrics |= {"neighbor": (units * neighbors).sum(-1).mean(), **contrast_metrics(pairs[0])}
        return Output(loss, metrics, {"keys": units[0]})

    def commit(self, carry: Mapping[str, Tensor]) -> None:
        """Put the embeddings of the first crop into the support set."""
        self.support.commit(carry["keys"])
