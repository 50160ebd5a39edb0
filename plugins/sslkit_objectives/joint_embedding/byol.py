"""BYOL. V crops, B images, D width."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from sslkit.functional.feature_std import feature_std
from sslkit.functional.joint_embedding_losses import byol
from sslkit.interfaces import Encode, Objective, Output, Tokens
from sslkit.nn.crop_heads import Sharing, predictor_of
from sslkit.nn.projection_head import ProjectionHead
from sslkit.plugin import Env, Projection


@final
class BYOLObjective(Objective):
    """Each crop's prediction of the moving average's embedding of every other crop."""

    def __init__(
        self,
        view: str,
        net: str,
        projector: Projection,
        predictor: Projection | None,
        sharing: Sharing,
        env: Env,
    ) -> None:
        """`sharing`: of the predictor among crops."""
        super().__init__()
        self.passes = (Encode(view), Encode(view, net=net))
        self.crops = {view: 2}
        self.projector = ProjectionHead(projector, env.net("student").dim)
        crops = env.view(view).crops
        self.predictor = None
        if predictor is not None:
            self.predictor = predictor_of(predictor, projector.out, sharing, crops)
        self.goal_projector = copy.deepcopy(self.projector).requires_grad_(False)
        self.twins, self.follows = {"projector": "goal_projector"}, net

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        """2 - 2 cos, summed over both directions; with more crops, twice its mean over pairs."""
        seen, averaged = tokens
        embeddings = self.projector.per_crop(seen.cls)
        predictions = embeddings if self.predictor is None else self.predictor.per_crop(embeddings)
        with torch.no_grad():
            goals = self.goal_projector.per_crop(averaged.cls)
        loss = byol(predictions, goals)
        return Output(loss, {"feature_std": feature_std(embeddings)})
