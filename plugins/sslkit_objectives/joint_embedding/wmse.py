"""W-MSE. V crops, N images of all ranks, G groups of n images, D width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, final

import torch
from torch import Tensor

from sslkit.functional.feature_std import feature_std
from sslkit.functional.joint_embedding_losses import wmse
from sslkit.interfaces import Encode, Objective, Output, Tokens
from sslkit.nn.projection_head import ProjectionHead
from sslkit.plugin import Env, Projection
from sslkit_objectives.all_ranks import of_all_ranks
from sslkit_objectives.regularizers.random_directions import SCHEDULES, RandomOrder


class Whitening(NamedTuple):
    """How embeddings are whitened, and compared."""

    size: int | None
    """Images that are whitened together; None for all of a batch."""
    draws: int
    """Partitions into groups of which the mean is taken."""
    eps: float
    """Share of the identity in the covariances."""
    normalize: bool
    """Compare directions, not vectors."""


@final
class WMSEObjective(Objective):
    """Crops of an image close to each other after each crop's embeddings have been whitened."""

    compares = True

    def __init__(self, view: str, projector: Projection, whitening: Whitening, env: Env) -> None:
        super().__init__()
        self.passes = (Encode(view),)
        self.crops = {view: 2}
        self.whitening = whitening
        self.schedules = SCHEDULES
        self.projector = ProjectionHead(projector, env.net("student").dim)
        self.order = RandomOrder()

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        """Mean over partitions; crops share groups, and the statistics of batch norm."""
        (seen,) = tokens
        embeddings = self.projector(seen.cls)
        rows, settings = of_all_ranks(embeddings), self.whitening
        size = settings.size or rows.shape[1]
        losses = [
            wmse(rows[:, order], size, settings.eps, normalize=settings.normalize)
            for order in self.order(now, settings.draws, rows.shape[1])
        ]
        return Output(torch.stack(losses).mean(), {"feature_std": feature_std(embeddings)})
