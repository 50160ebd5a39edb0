"""Specs of joint embeddings without negatives: prediction, decorrelation, clustering, rotation. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal, Self, final

from pydantic import Field

from sslkit.plugin import AverageName, Count, ObjectiveSpec, Problem, Projection, ViewName, completed_by
from sslkit_objectives.specs.head_widths import PredictorPer, width_problems

if TYPE_CHECKING:
    from sslkit.interfaces import Objective
    from sslkit.plugin import Env, RunSpec

BYOL_HEAD = Projection(layers=2, hidden=4096, out=256, bias=True)
SIMSIAM_HEAD = Projection(layers=3, hidden=2048, out=2048, out_norm="plain")
SIMSIAM_PREDICTOR = Projection(layers=2, hidden=512, out=2048, out_bias=True)
BARLOW_HEAD = Projection(layers=3, hidden=8192, out=8192)
VICREG_HEAD = Projection(layers=3, hidden=8192, out=8192, bias=True)
SWAV_HEAD = Projection(layers=2, hidden=2048, out=128, bias=True, out_bias=True)
SMALL = Projection(hidden=16, out=8)
"""Widths of heads in examples."""

Weight = Annotated[float, Field(ge=0)]


@final
class BYOL(ObjectiveSpec):
    """BYOL (Grill et al. 2020): predict what a moving average makes of another crop.

    The run needs that net: `nets: {teacher: {momentum: {start: 0.996, end: 1.0}}}`.
    """

    kind: Literal["byol"] = "byol"
    view: ViewName = "global"
    """View whose crops predict each other; at least 2."""
    net: AverageName = "teacher"
    """The moving average that makes the goals."""
    projector: Annotated[Projection, completed_by(BYOL_HEAD)] = BYOL_HEAD
    """Head of both nets (BYOL: 2 layers, 4096 and 256, biases before batch norm only)."""
    predictor: Annotated[Projection, completed_by(BYOL_HEAD)] | None = BYOL_HEAD
    """Head of the student after it (BYOL: the same). null: none, which collapses."""
    predictor_per: PredictorPer = "all"
    """One predictor for all crops (BYOL), or one for each position: for crops augmented each in its own way."""

    @classmethod
    def example(cls) -> Self:
        return cls(projector=SMALL, predictor=SMALL)

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        yield from width_problems(self.projector, self.predictor)

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from super().unused(run)
        if self.predictor is None:
            yield Problem("predictor_per", "has no effect, as `predictor` is null; leave it out")

    def build(self, env: Env) -> Objective:
        from sslkit_objectives.joint_embedding.byol import BYOLObjective

        sharing = self.predictor_per
        return BYOLObjective(self.view, self.net, self.projector, self.predictor, sharing, env)


@final
class SimSiam(ObjectiveSpec):
    """SimSiam (Chen and He 2020): predict the student's own embedding of another crop, which gets no gradient."""

    kind: Literal["simsiam"] = "simsiam"
    view: ViewName = "global"
    """View whose crops predict each other; at least 2."""
    projector: Annotated[Projection, completed_by(SIMSIAM_HEAD)] = SIMSIAM_HEAD
    """Head (SimSiam: 3 layers of 2048, a plain batch norm last; CIFAR-10: 2 layers)."""
    predictor: Annotated[Projection, completed_by(SIMSIAM_PREDICTOR)] = SIMSIAM_PREDICTOR
    """Head after it (SimSiam: 2 layers with a bottleneck of 512, a bias last)."""
    predictor_per: PredictorPer = "all"
    """One predictor for all crops (SimSiam), or one for each position: for crops augmented each in its own way."""

    @classmethod
    def example(cls) -> Self:
        return cls(projector=SMALL, predictor=SMALL)

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        yield from width_problems(self.projector, self.predictor)

    def build(self, env: Env) -> Objective:
        from sslkit_objectives.joint_embedding.simsiam import SimSiamObjective

        return SimSiamObjective(self.view, self.projector, self.predictor, self.predictor_per, env)


@final
class BarlowTwins(ObjectiveSpec):
    """Barlow Twins (Zbontar et al. 2021): dimensions agree over crops and are not correlated with each other."""

    kind: Literal["barlow_twins"] = "barlow_twins"
    view: ViewName = "global"
    """View whose crops are compared; at least 2."""
    projector: Annotated[Projection, completed_by(BARLOW_HEAD)] = BARLOW_HEAD
    """Head (Barlow Twins: 3 layers of 8192 without biases)."""
    redundancy: Weight = 0.0051
    """Weight of the correlations between different dimensions, lambda (Barlow Twins: 0.0051)."""
    scale: float = Field(1.0, gt=0)
    """Factor of the whole loss (Barlow Twins: 1; solo-learn: 0.025, and 0.1 on CIFAR-10)."""

    @classmethod
    def example(cls) -> Self:
        return cls(projector=SMALL)

    def build(self, env: Env) -> Objective:
        from sslkit_objectives.joint_embedding.barlow_twins import BarlowTwinsObjective

        return BarlowTwinsObjective(self.view, self.projector, self.redundancy, self.scale, env)


@final
class VICReg(ObjectiveSpec):
    """VICReg (Bardes, Ponce, LeCun 2021): crops agree, dimensions vary over images and do not covary."""

    kind: Literal["vicreg"] = "vicreg"
    view: ViewName = "global"
    """View whose crops are compared; at least 2."""
    projector: Annotated[Projection, completed_by(VICREG_HEAD)] = VICREG_HEAD
    """Head, the expander (VICReg: 3 layers of 8192, biases in all but the last)."""
    invariance: Weight = 25.0
    """Weight of the squared distance of crops (VICReg: 25)."""
    variance: Weight = 25.0
    """Weight of the hinge on the deviation of each dimension (VICReg: 25)."""
    covariance: Weight = 1.0
    """Weight of the squared covariances (VICReg: 1)."""

    @classmethod
    def example(cls) -> Self:
        return cls(projector=SMALL)

    def build(self, env: Env) -> Objective:
        from sslkit_objectives.joint_embedding.vicreg import VICRegObjective

        weights = {
            "invariance": self.invariance,
            "variance": self.variance,
            "covariance": self.covariance,
        }
        return VICRegObjective(self.view, self.projector, weights, env)


@final
class SwAV(ObjectiveSpec):
    """SwAV (Caron et al. 2020): predict from a crop the prototypes that another crop of the image is assigned to."""

    kind: Literal["swav"] = "swav"
    view: ViewName = "global"
    """View whose crops are assigned to prototypes; at least 2."""
    local: ViewName | None = None
    """View of further, smaller crops, which only predict (SwAV: 6 of 96 pixels)."""
    projector: Annotated[Projection, completed_by(SWAV_HEAD)] = SWAV_HEAD
    """Head (SwAV: 2 layers with biases, 2048 and 128)."""
    prototypes: Count = 3000
    """Clusters (SwAV: 3000)."""
    temperature: float = Field(0.1, gt=0)
    """What cosines with prototypes are divided by in predictions (SwAV: 0.1)."""
    epsilon: float = Field(0.05, gt=0)
    """The same in assignments; smaller is sharper (SwAV: 0.05)."""
    iterations: Count = 3
    """Rounds of Sinkhorn-Knopp (SwAV: 3)."""
    freeze_steps: int = Field(313, ge=0)
    """Steps at the start in which prototypes stay as they are (SwAV: 313, or 5005 with small batches)."""

    @classmethod
    def example(cls) -> Self:
        return cls(projector=SMALL, prototypes=12, freeze_steps=1, local="local")

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        if self.local == self.view:
            yield Problem("local", "is `view` itself; leave it out")

    def build(self, env: Env) -> Objective:
        from sslkit_objectives.joint_embedding.swav import Clustering, SwAVObjective

        clustering = Clustering(
            self.prototypes, self.temperature, self.epsilon, self.iterations, self.freeze_steps
        )
        return SwAVObjective(self.view, self.local, self.projector, clustering, env)


@final
class Rotation(ObjectiveSpec):
    """RotNet (Gidaris et al. 2018): tell by how many quarter turns each crop was turned.

    The view turns them: its crop i ends with the augmentation `{kind: turn, quarters: turns[i]}`.
    """

    kind: Literal["rotation"] = "rotation"
    view: ViewName = "global"
    """View whose crops are turned, each by a number of quarter turns of its own."""
    turns: tuple[Annotated[int, Field(ge=0, le=3)], ...] = Field((0, 1, 2, 3), min_length=2)
    """Quarter turns of the view's crops, in their order (RotNet: all four of each image)."""

    @classmethod
    def example(cls) -> Self:
        """Two upright crops, which any view has."""
        return cls(turns=(0, 0))

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        chains = run.views[self.view].chains
        turns = tuple(
            sum(getattr(step, "quarters", 0) for step in chain if step.kind_name() == "turn") % 4
            for chain in chains
        )
        if turns != self.turns:
            lists = ", ".join(f"[..., {{kind: turn, quarters: {n}}}]" for n in self.turns)
            yield Problem(
                "turns",
                f"are {list(self.turns)}, but view {self.view!r} turns its crops by {list(turns)}; set "
                f"`views.{self.view}.crops` to {len(self.turns)} and its `by_crop` to [{lists}]",
            )

    def build(self, env: Env) -> Objective:
        from sslkit_objectives.joint_embedding.rotation import RotationObjective

        return RotationObjective(self.view, self.turns, env)


NEGATIVE_FREE = (BYOL, SimSiam, BarlowTwins, VICReg, SwAV, Rotation)
"""The kinds of this module."""
