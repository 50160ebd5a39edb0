"""VICReg. V crops, N images of all ranks, D width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.functional.feature_std import feature_std
from sslkit.functional.vicreg_terms import covariance, variance
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
        loss = sum(self.weights[name] * value for name, value in terms.items())
        assert isinstance(loss, Tensor), "there are terms"
        metrics = {name: value.detach() for name, value in terms.items()}
        return Output(loss, {**metrics, "feature_std": feature_std(embeddings)})


def vicreg_terms(x_VND: Tensor) -> dict[str, Tensor]:
    """VICReg's three terms by name.

    `invariance`: mean squared difference of two crops, mean over pairs. `variance`: mean over crops. `covariance`:
    sum over two crops, twice the mean over more.
    """
    apart = [F.mse_loss(x_VND, x_VND.roll(shift, 0)) for shift in range(1, len(x_VND))]
    return {
        "invariance": torch.stack(apart).mean(),
        "variance": variance(x_VND).mean(),
        "covariance": 2 * covariance(x_VND).mean(),
    }
