"""SimSiam. V crops, B images, D width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from torch import Tensor

from sslkit.functional.feature_std import feature_std
from sslkit.interfaces import Encode, Objective, Output, Tokens
from sslkit.nn.projection_head import ProjectionHead
from sslkit.plugin import Env
from sslkit_objectives.joint_embedding.crop_pairs import agreement
from sslkit_objectives.specs.joint_embedding import SimSiam


@final
class SimSiamObjective(Objective):
    """Each crop's prediction of the embedding of every other crop, which gets no gradient."""

    def __init__(self, spec: SimSiam, env: Env) -> None:
        super().__init__()
        self.passes = (Encode(spec.view),)
        self.crops = {spec.view: 2}
        self.projector = ProjectionHead(spec.projector, env.net("student").dim)
        self.predictor = ProjectionHead(spec.predictor, spec.projector.out)

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        """-cos, mean over both directions."""
        (seen,) = tokens
        embeddings = self.projector.per_crop(seen.cls)
        predictions = self.predictor.per_crop(embeddings)
        loss = -agreement(predictions, embeddings.detach())
        return Output(loss, {"feature_std": feature_std(embeddings)})
