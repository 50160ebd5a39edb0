"""LeJEPA. G global crops, C crops of all sizes, B images of a rank, N of all ranks, D width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, final

import torch
from torch import Tensor

from sslkit.functional.feature_std import feature_std
from sslkit.functional.joint_embedding_losses import distance_to_center
from sslkit.functional.sliced_normality import sigreg
from sslkit.interfaces import Encode, Objective, Output, Tokens
from sslkit.nn.projection_head import ProjectionHead
from sslkit.plugin import Env, Projection
from sslkit_objectives.all_ranks import of_all_ranks
from sslkit_objectives.regularizers.random_directions import SCHEDULES, RandomDirections


class Prediction(NamedTuple):
    """How crops of an image are drawn together, and all embeddings to a standard normal."""

    center: Literal["all", "global"]
    """Crops whose mean all are drawn to."""
    normality: float
    """Weight of SIGReg; that of the distance is 1 less this."""
    directions: int
    """Random directions of a step."""


@final
class LeJEPAObjective(Objective):
    """Crops of an image close to their mean, embeddings of all images normal in every direction."""

    compares = True

    def __init__(
        self, view: str, local: str | None, projector: Projection, prediction: Prediction, env: Env
    ) -> None:
        super().__init__()
        self.prediction = prediction
        self.passes = tuple(Encode(name) for name in (view, local) if name is not None)
        self.crops = {view: 2}
        self.schedules = SCHEDULES
        self.projector = ProjectionHead(projector, env.net("student").dim)
        self.directions = RandomDirections(projector.out, prediction.directions)

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        """The weighted sum; the terms without weights are metrics."""
        embeddings = self.projector(torch.cat([seen.cls for seen in tokens]))
        crops = len(tokens[0].cls) if self.prediction.center == "global" else None
        invariance = distance_to_center(embeddings, crops)
        normality = sigreg(of_all_ranks(embeddings), self.directions(now)).mean()
        share = self.prediction.normality
        metrics = {"invariance": invariance.detach(), "sigreg": normality.detach()}
        loss = (1 - share) * invariance + share * normality
        return Output(loss, {**metrics, "feature_std": feature_std(embeddings)})
