"""SwAV. G global crops, C crops of all sizes, B images, K prototypes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.functional.feature_std import feature_std
from sslkit.functional.info_nce import unit
from sslkit.functional.joint_embedding_losses import swapped
from sslkit.functional.sinkhorn import sinkhorn
from sslkit.interfaces import Encode, Objective, Output, Tokens
from sslkit.nn.projection_head import ProjectionHead
from sslkit.plugin import Env, Projection


class Clustering(NamedTuple):
    """How crops are assigned to prototypes, and predict each other's assignments."""

    prototypes: int
    temperature: float
    """What cosines with prototypes are divided by in predictions."""
    epsilon: float
    """The same in assignments."""
    iterations: int
    """Rounds of Sinkhorn-Knopp."""
    freeze_steps: int
    """Steps at the start in which prototypes stay as they are."""


@final
class SwAVObjective(Objective):
    """Every crop predicts the assignment of every other crop that is global."""

    compares = True  # assignments use all prototypes alike

    def __init__(
        self, view: str, local: str | None, projector: Projection, clustering: Clustering, env: Env
    ) -> None:
        super().__init__()
        self.clustering = clustering
        self.passes = tuple(Encode(name) for name in (view, local) if name is not None)
        self.crops = {view: 2}
        self.projector = ProjectionHead(projector, env.net("student").dim)
        self.prototypes = nn.Linear(projector.out, clustering.prototypes, bias=False)
        self.commit({})

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        """Cross-entropy, mean over pairs of a global crop and another crop."""
        embeddings = self._embed([seen.cls for seen in tokens])
        globals_ = embeddings[: len(tokens[0].cls)]
        clustering = self.clustering
        with torch.autocast(embeddings.device.type, enabled=False):
            logits = F.linear(unit(embeddings), self.prototypes.weight)
            codes = [sinkhorn(x, clustering.epsilon, clustering.iterations) for x in logits[: len(globals_)]]
            loss = swapped(logits / clustering.temperature, torch.stack(codes))
        return Output(loss, {"feature_std": feature_std(globals_)})

    def before_update(self, step: int) -> None:
        """Prototypes wait until embeddings mean something."""
        if step < self.clustering.freeze_steps:
            self.prototypes.weight.grad = None

    @torch.no_grad()
    def commit(self, carry: Mapping[str, Tensor]) -> None:
        """Bring prototypes back to length 1, as SwAV does before each step."""
        self.prototypes.weight.copy_(F.normalize(self.prototypes.weight, dim=1))

    def _embed(self, features: list[Tensor]) -> Tensor:
        """`[C, B, D]`, global crops first; crops of all sizes share the statistics of batch norm."""
        return self.projector(torch.cat(features))  # type: ignore[no-any-return]
