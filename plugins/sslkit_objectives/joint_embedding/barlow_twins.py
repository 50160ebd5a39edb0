"""Barlow Twins. V crops, N images of all ranks, D width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from torch import Tensor

from sslkit.functional.feature_std import feature_std
from sslkit.functional.joint_embedding_losses import barlow_twins
from sslkit.interfaces import Encode, Objective, Output, Tokens
from sslkit.nn.projection_head import ProjectionHead
from sslkit.plugin import Env, Projection
from sslkit_objectives.all_ranks import of_all_ranks


@final
class BarlowTwinsObjective(Objective):
    """The correlations of one crop's dimensions with those of another, against the identity."""

    compares = True

    def __init__(self, view: str, projector: Projection, redundancy: float, scale: float, env: Env) -> None:
        super().__init__()
        self.passes = (Encode(view),)
        self.crops = {view: 2}
        self.redundancy, self.scale = redundancy, scale
        self.projector = ProjectionHead(projector, env.net("student").dim)

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        """The mean over pairs of crops, of which two make one."""
        (seen,) = tokens
        embeddings = self.projector.per_crop(seen.cls)
        loss = barlow_twins(of_all_ranks(embeddings), self.redundancy, self.scale)
        return Output(loss, {"feature_std": feature_std(embeddings)})
