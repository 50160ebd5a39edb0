"""Barlow Twins. V crops, N images of all ranks, D width."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import final

import torch
from torch import Tensor

from sslkit.functional.feature_std import feature_std
from sslkit.interfaces import Encode, Objective, Output, Tokens
from sslkit.nn.projection_head import ProjectionHead
from sslkit.plugin import Env, Projection
from sslkit_objectives.all_ranks import of_all_ranks

EPS = 1e-5  # of the batch norm without scale and shift that standardizes (`main.py`, `BarlowTwins.bn`)


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
        x_VND = standardized(of_all_ranks(embeddings))
        pairs = [correlation_loss(x, y, self.redundancy) for x, y in combinations(x_VND.unbind(), 2)]
        loss = self.scale * torch.stack(pairs).mean()
        return Output(loss, {"feature_std": feature_std(embeddings)})


def standardized(x_VND: Tensor) -> Tensor:
    """Each dimension of each crop with mean 0 and variance 1 over images."""
    var, mean = torch.var_mean(x_VND, dim=-2, correction=0, keepdim=True)
    return (x_VND - mean) * (var + EPS).rsqrt()


def correlation_loss(x_ND: Tensor, y_ND: Tensor, redundancy: float) -> Tensor:
    """Sum of (C_ii - 1)^2 and of `redundancy` C_ij^2, for the correlations C of standardized x and y."""
    with torch.autocast(x_ND.device.type, enabled=False):
        correlations = x_ND.mT @ y_ND / len(x_ND)
    diagonal = correlations.diagonal()
    other = correlations.square().sum() - diagonal.square().sum()
    return (diagonal - 1).square().sum() + redundancy * other
