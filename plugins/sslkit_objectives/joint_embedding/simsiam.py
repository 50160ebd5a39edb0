"""SimSiam. V crops, B images, D width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from torch import Tensor

from sslkit.functional.feature_std import feature_std
from sslkit.functional.joint_embedding_losses import simsiam
from sslkit.interfaces import Encode, Objective, Output, Tokens
from sslkit.nn.crop_heads import Sharing, predictor_of
from sslkit.nn.projection_head import ProjectionHead
from sslkit.plugin import Env, Projection


@final
class SimSiamObjective(Objective):
    """Each crop's prediction of the embedding of every other crop, which gets no gradient."""

    def __init__(
        self, view: str, projector: Projection, predictor: Projection, sharing: Sharing, env: Env
    ) -> None:
        """`sharing`: of the predictor among crops."""
        super().__init__()
        self.passes = (Encode(view),)
        self.crops = {view: 2}
        self.projector = ProjectionHead(projector, env.net("student").dim)
        self.predictor = predictor_of(predictor, projector.out, sharing, env.view(view).crops)

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        """-cos, mean over both directions."""
        (seen,) = tokens
        embeddings = self.projector.per_crop(seen.cls)
        predictions = self.predictor.per_crop(embeddings)
        loss = simsiam(predictions, embeddings)
        return Output(loss, {"feature_std": feature_std(embeddings)})
