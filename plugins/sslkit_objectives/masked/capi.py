"""CAPI. V crops, B images, N patches, L hidden ones, D width, K prototypes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.functional.feature_std import feature_std
from sslkit.functional.info_nce import unit
from sslkit.functional.online_clustering import assignment_error, balanced_assignments
from sslkit.functional.precision import at_least_float32
from sslkit.interfaces import Encode, Objective, Output, Tokens
from sslkit.nn.block_predictor import BlockPredictor
from sslkit.nn.dino_head import Prototypes
from sslkit.plugin import Env, MaskerSpec
from sslkit_objectives.distillation.teacher_entropy import entropy_shares


class Patches(NamedTuple):
    """What is hidden, and who sees it."""

    view: str
    masker: MaskerSpec
    teacher: str
    """Name of the moving average that sees all patches."""


class Clustering(NamedTuple):
    """How patches are clustered, and clusters predicted."""

    prototypes: int
    temperature: float
    """Of predictions."""
    target_temperature: float
    """Of assignments."""
    iterations: int
    positionwise: bool
    """Images share prototypes at each position apart."""


@final
class CAPIObjective(Objective):
    """Cross-entropy of hidden patches with their clusters, and of the clusters' head with its balanced self."""

    compares = True

    def __init__(
        self, patches: Patches, predictor: BlockPredictor, width: int, clustering: Clustering, env: Env
    ) -> None:
        super().__init__()
        view, masker, teacher = patches
        self.passes = (Encode(view, mask=masker), Encode(view, net=teacher))
        self.crops = {view: 1}
        self.clustering = clustering
        self.predictor = predictor
        self.student_head = Prototypes(width, clustering.prototypes, fixed=False)
        self.clusters = nn.Linear(env.net(teacher).dim, clustering.prototypes)
        nn.init.normal_(self.clusters.weight)  # CAPI `model.py`, `OnlineClustering`
        nn.init.zeros_(self.clusters.bias)

    def forward(self, now: Mapping[str, Tensor], *tokens: Tokens) -> Output:
        """The sum of both terms; that of clusters trains their head alone, the other one everything else."""
        seen, whole = tokens
        assert seen.mask is not None, "the system samples a mask for every pass that names a masker"
        logits = self._logits(whole.patch)
        goal, clustering = self._clustered(logits)
        mask = seen.mask.of_targets()
        scores = self._predictions(seen) / self.clustering.temperature
        errors = assignment_error(scores, mask.pick(goal))
        prediction = mask.mean(errors)
        metrics = {"prediction": prediction.detach(), "clustering": clustering.detach()}
        metrics |= {"feature_std": feature_std(seen.cls), **entropy_shares(goal.flatten(1, 2))}
        patch_scores = errors.detach() if mask is seen.mask else None
        return Output(prediction + clustering, metrics, scores=patch_scores)

    def _logits(self, patches_VBND: Tensor) -> Tensor:
        """Of all patches `[V, B, N, K]`; no gradient reaches the network."""
        units = F.normalize(at_least_float32(patches_VBND.detach()), dim=-1, eps=1e-7)
        with torch.autocast(units.device.type, enabled=False):
            logits: Tensor = self.clusters(units)
        return logits

    def _clustered(self, logits_VBNK: Tensor) -> tuple[Tensor, Tensor]:
        """Assignments `[V, B, N, K]` and the loss of the head."""
        settings, shape = self.clustering, logits_VBNK.shape[:2]
        by_position = logits_VBNK.flatten(0, 1).transpose(0, 1)  # [N, V B, K]
        shares = balanced_assignments(
            by_position, settings.target_temperature, settings.iterations, positionwise=settings.positionwise
        )
        loss = assignment_error(by_position / settings.temperature, shares).mean()
        return shares.transpose(0, 1).unflatten(0, shape), loss

    def _predictions(self, seen: Tokens) -> Tensor:
        """Cosines of the predictions of hidden patches with the student's prototypes `[L, K]`, times their scales."""
        units = unit(self.predictor(seen, seen.mask))
        with torch.autocast(units.device.type, enabled=False):
            cosines: Tensor = self.student_head(units)
        return cosines
