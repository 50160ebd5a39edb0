"""SimSiam. V crops, B images, D width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from torch import Tensor

from sslkit.core.env import Env
from sslkit.core.objective import Objective
from sslkit.core.passes import Encode, Output, Tokens
from sslkit.functional.collapse import feature_std
from sslkit.nn.projection import ProjectionHead
from sslkit_joint.crops import agreement
from sslkit_joint.negative_free import SimSiam


@final
class SiamesePrediction(Objective):
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
