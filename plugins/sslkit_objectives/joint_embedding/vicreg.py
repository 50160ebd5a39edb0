"""VICReg. V crops, N images of all ranks, D width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from torch import Tensor

from sslkit.functional.feature_std import feature_std
from sslkit.functional.joint_embedding_losses import vicreg_terms, weighted
from sslkit.interfaces import Encode, Objective, Output, Tokens
from sslkit.nn.projection_head import ProjectionHead
from sslkit.plugin import Env, Projection
from sslkit_objectives.all_ranks import of_all_ranks


@final
class VICRegObjective(Objective):
    """Crops of an image close to each other, dimensions that vary over images and do not covary."""

    compares = True

    def __init__(self, view: str, projector: Projection, weights: Mapping[str, float], env: Env) -> None:
        """`weights`: of each of `vicreg_terms`."""
        super().__init__()
        self.passes = (Encode(view),)
        self.crops = {view: 2}
        self.weights = weights
        self.projector = ProjectionHead(projector, env.net("student").dim)

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        """The weighted sum; the terms without weights are metrics."""
        (seen,) = tokens
        embeddings = self.projector.per_crop(seen.cls)
        terms = vicreg_terms(of_all_ranks(embeddings))
        loss = weighted(terms, self.weights)
        metrics = {name: value.detach() for name, value in terms.items()}
        return Output(loss, {**metrics, "feature_std": feature_std(embeddings)})
