"""Specs of objectives on several clips of a video. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, final

from pydantic import Field

from sslkit.plugin import (
    AverageName,
    ObjectiveSpec,
    Problem,
    Projection,
    Reference,
    ViewName,
    completed_by,
)
from sslkit_video.specs.core_kinds import core_objective

if TYPE_CHECKING:
    from sslkit.interfaces import Objective
    from sslkit.plugin import Env, RunSpec

CVRL_HEAD = Projection(layers=3, hidden=2048, out=128)
RHO_BYOL_HEAD = Projection(layers=2, hidden=4096, out=256, bias=True)
SMALL = Projection(hidden=16, out=8)
"""Widths of heads in examples."""
KeyNet = Annotated[
    str, Reference("average", student=True, settings="{momentum: 0.994, update: before_forward}")
]
"""A moving average that makes keys (rho-MoCo), or the student."""


@final
class TemporalInfoNCE(ObjectiveSpec):
    """Clips of one video attract each other, those of other videos repel (CVRL: Qian et al. 2021; rho-MoCo).

    `infonce` with the settings of video: the view's crops are clips of one video, each a query against all others. With
    a `queue` and the keys of a moving average it is rho-MoCo (Feichtenhofer et al. 2021).
    """

    scores_patches: ClassVar[bool] = False

    kind: Literal["temporal_infonce"] = "temporal_infonce"
    view: ViewName = "global"
    """View whose crops are clips of one video; at least 2 (CVRL: 2; rho-MoCo: 2 to 4)."""
    net: KeyNet = "student"
    """Net that makes keys: the student (CVRL), or a moving average (rho-MoCo)."""
    projector: Annotated[Projection, completed_by(CVRL_HEAD)] = CVRL_HEAD
    """Head (CVRL: 3 layers of 2048, 128 out)."""
    temperature: float = Field(0.1, gt=0)
    """What cosines are divided by (CVRL, rho-MoCo: 0.1)."""
    queue: int = Field(0, ge=0)
    """Keys of earlier batches (rho-MoCo: 65536), in place of other videos of the batch; 0 for those (CVRL)."""
    queue_crops: Literal["all", "first"] = "first"
    """Whose keys go into the queue: of every clip, or of the first one only (SlowFast)."""
    directions: Literal["mean", "sum"] = "mean"
    """Over pairs of clips: the mean; CVRL's own code sums over the two directions, which is twice that."""

    @classmethod
    def example(cls) -> Self:
        return cls(projector=SMALL)

    def engine(self) -> ObjectiveSpec:
        """What this is short for."""
        shared = {"view": self.view, "net": self.net, "projector": self.projector, "weight": self.weight}
        shared |= {"temperature": self.temperature, "directions": self.directions, "salt": self.salt}
        if self.queue:
            queued = {"queue": self.queue, "queue_crops": self.queue_crops, "in_batch": False}
            return core_objective("infonce", **shared, **queued)
        return core_objective("infonce", **shared, joint_norm=True, all_crops=self.net == "student")

    @property
    def min_batch(self) -> int:
        return 1 if self.queue else 2

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        yield from self.engine().problems(run)

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from super().unused(run)
        if not self.queue:
            yield Problem("queue_crops", "has no effect without `queue`; give that too, or leave this out")

    def build(self, env: Env) -> Objective:
        return self.engine().build(env)


@final
class TemporalBYOL(ObjectiveSpec):
    """Clips predict what a moving average makes of other clips of their video (rho-BYOL: Feichtenhofer et al. 2021).

    `byol` with the settings of video. The run needs the net: `nets: {teacher: {momentum: {start: 0.996, end: 1.0}}}`.
    """

    scores_patches: ClassVar[bool] = False

    kind: Literal["temporal_byol"] = "temporal_byol"
    view: ViewName = "global"
    """View whose crops are clips of one video; at least 2 (rho-BYOL: 2 to 4)."""
    net: AverageName = "teacher"
    """The moving average that makes the goals."""
    projector: Annotated[Projection, completed_by(RHO_BYOL_HEAD)] = RHO_BYOL_HEAD
    """Head of both nets (rho-BYOL: 2 layers, 4096 and 256)."""
    predictor: Annotated[Projection, completed_by(RHO_BYOL_HEAD)] = RHO_BYOL_HEAD
    """Head of the student after it (rho-BYOL: the same)."""

    @classmethod
    def example(cls) -> Self:
        return cls(projector=SMALL, predictor=SMALL)

    def engine(self) -> ObjectiveSpec:
        """What this is short for."""
        heads = {"projector": self.projector, "predictor": self.predictor}
        return core_objective(
            "byol", view=self.view, net=self.net, weight=self.weight, salt=self.salt, **heads
        )

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        yield from self.engine().problems(run)

    def build(self, env: Env) -> Objective:
        return self.engine().build(env)


@final
class TemporalConsistency(ObjectiveSpec):
    """Features of neighboring moments of a clip, and of clips of one video, stay near each other (slow features).

    A regularizer: alone it makes all features equal.
    """

    scores_patches: ClassVar[bool] = False

    kind: Literal["temporal_consistency"] = "temporal_consistency"
    view: ViewName = "global"
    """View whose clips the student sees, whole."""
    moments: float = Field(1.0, ge=0)
    """Weight of the distance between the mean features of a moment and the next."""
    clips: float = Field(0.0, ge=0)
    """Weight of the distance between clips of a video, over all pairs; the view then needs 2 crops."""
    loss: Literal["cosine", "l2"] = "cosine"
    """1 minus the cosine, or the mean squared difference over the width."""

    @classmethod
    def example(cls) -> Self:
        return cls(clips=0.5)

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """Something must be near."""
        if not (self.moments or self.clips):
            yield Problem("moments", "and `clips` are 0, so that nothing is held near; raise one")

    def build(self, env: Env) -> Objective:
        from sslkit_video.temporal_consistency import Nearness, TemporalConsistencyObjective

        return TemporalConsistencyObjective(self.view, Nearness(self.moments, self.clips, self.loss), env)
