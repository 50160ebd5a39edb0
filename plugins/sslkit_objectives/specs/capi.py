"""Spec of CAPI. Torch-free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self, final

from pydantic import Field

from sslkit.plugin import AverageName, Count, MaskerField, ObjectiveSpec, ViewName, slot_default
from sslkit_objectives.specs.ijepa import Predictor

if TYPE_CHECKING:
    from sslkit.interfaces import Objective
    from sslkit.plugin import Env

PREDICTOR = Predictor(depth=12, width=1024, heads=16)


@final
class CAPI(ObjectiveSpec):
    """CAPI (Darcet et al. 2025): predict the clusters of hidden patches, learned online from a moving average.

    The run needs the net that it names, as in `nets: {teacher: {momentum: 0.999}}`.
    """

    kind: Literal["capi"] = "capi"
    view: ViewName = "global"
    """View whose crops are masked."""
    masker: MaskerField = slot_default("inverse_block")
    """What is hidden and predicted (CAPI: all but a block, 0.65). The visible count must be fixed."""
    teacher: AverageName = "teacher"
    """The moving average under `nets` whose patches are clustered."""
    prototypes: Count = 16384
    """Clusters (CAPI: 16384)."""
    predictor: Predictor = PREDICTOR
    """The transformer that predicts hidden patches (CAPI: 12 blocks as wide as ViT-L, 1024)."""
    temperature: float = Field(0.12, gt=0)
    """What logits of predictions are divided by (CAPI: 0.12)."""
    target_temperature: float = Field(0.06, gt=0)
    """The same of assignments (CAPI: 0.06)."""
    iterations: Count = 3
    """Rounds of Sinkhorn-Knopp (CAPI: 3)."""
    positionwise: bool = True
    """Images share the clusters at each position apart (CAPI); false: all patches together."""

    @classmethod
    def example(cls) -> Self:
        small = Predictor(depth=1, width=16, heads=2)
        return cls(masker={"kind": "random", "ratio": 0.5}, predictor=small, prototypes=12)

    @property
    def min_batch(self) -> int:
        return 2

    def build(self, env: Env) -> Objective:
        """The encoder sees visible patches only."""
        from sslkit.nn.block_predictor import BlockPredictor
        from sslkit_objectives.masked.capi import CAPIObjective, Clustering, Patches

        width, sizes = env.net("student").dim, self.predictor
        env.same_patches(self.teacher, self.view)
        predictor = BlockPredictor(
            width, sizes.width, sizes.depth, sizes.heads, env.grid(self.view), sizes.width
        )
        clustering = Clustering(
            self.prototypes, self.temperature, self.target_temperature, self.iterations, self.positionwise
        )
        patches = Patches(self.view, self.masker, self.teacher)
        return CAPIObjective(patches, predictor, sizes.width, clustering, env)
