"""Specs of contrastive objectives: the engine and its presets. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self, final

from pydantic import Field

from sslkit.plugin import MaskerField, ObjectiveSpec, Problem, Projection, Reference, ViewName, completed_by
from sslkit_objectives.specs.head_widths import PredictorPer, width_problems

if TYPE_CHECKING:
    from sslkit.interfaces import Objective
    from sslkit.plugin import Env, RunSpec

SIMCLR_HEAD = Projection(out_norm="scale", init="normal")
MOCO_HEAD = Projection(layers=2, norm=False, bias=True, out_bias=True)
MOCO_V3_HEAD = Projection(hidden=4096, out=256, out_norm="plain")
MOCO_V3_PREDICTOR = Projection(layers=2, hidden=4096, out=256, out_norm="plain")
SMALL = {"hidden": 16, "out": 8}
"""Widths of heads in examples."""


KeyNet = Annotated[
    str, Reference("average", student=True, settings="{momentum: 0.99, update: before_forward}")
]
KeyNetV2 = Annotated[
    str, Reference("average", student=True, settings="{momentum: 0.999, update: before_forward}")
]
KeyNetV3 = Annotated[
    str,
    Reference(
        "average", student=True, settings="{momentum: {start: 0.99, end: 1.0}, update: before_forward}"
    ),
]
"""A moving average that makes keys, or the student, with the momentum of the method."""


@final
class InfoNCE(ObjectiveSpec):
    """Contrast with every option: find the other crop of an image among those of other images."""

    scores_patches: ClassVar[bool] = False

    kind: Literal["infonce"] = "infonce"
    view: ViewName = "global"
    """View whose crops are compared, each with every other; at least 2."""
    key_view: ViewName | None = None
    """View that keys are taken from instead, one-way only: then `view` and it need 1 crop, and no pass is wasted."""
    masker: MaskerField | None = None
    """Hide patches from the student (CAN, CMAE), in the pass of a term with an equal masker; null for whole images."""
    mode: Literal["drop", "token"] = "drop"
    """How that pass meets hidden patches: `drop` (CAN, CMAE) or `token` (SimMIM, iBOT)."""
    net: KeyNet = "student"
    """Net that makes keys: the student itself (SimCLR), or a moving average under `nets` (MoCo)."""
    projector: Projection = Projection()
    """Head of queries and keys; a moving average of it makes keys where `net` is one."""
    predictor: Projection | None = None
    """Head of queries only, after the projector (MoCo v3)."""
    predictor_per: PredictorPer = "all"
    """One predictor for all crops of queries, or one for each position; with `crop`, not `joint_norm`."""
    joint_norm: bool = False
    """Crops share the statistics of the heads' batch norm (SimCLR); else each has its own (MoCo v3)."""
    temperature: float = Field(0.1, gt=0)
    """What cosines are divided by; where it is learned, the start (CLIP: 0.07)."""
    learn_temperature: bool = False
    """Learn its logarithm (CLIP)."""
    max_scale: float = Field(100.0, ge=1)
    """Largest inverse of a learned temperature (CLIP: 100)."""
    in_batch: bool = True
    """Other images of the batch are negatives."""
    all_crops: bool = False
    """So are other images' crops of the query's own position, not only those of its partner's (SimCLR)."""
    exclude_self: bool = True
    """With `all_crops`, leave the query itself out."""
    queue: int = Field(0, ge=0)
    """Keys of earlier batches that are negatives too (MoCo v2: 65536); 0 for none."""
    queue_crops: Literal["all", "first"] = "all"
    """Whose keys go into the queue: of every crop, or of the first one only (rho-MoCo)."""
    gather: Literal["gradient", "values", "none"] = "gradient"
    """Negatives of other ranks: with gradient, so that ranks equal one process (SimCLR); without (open_clip); none."""
    symmetric: bool = True
    """Every crop is a query once; else only the first one is (MoCo v2)."""
    directions: Literal["mean", "sum"] = "mean"
    """How the losses of the directions, one for each pair of query and key, become one (MoCo: sum)."""
    scale_2t: bool = False
    """Multiply the loss by twice the temperature (MoCo v3)."""

    @classmethod
    def example(cls) -> Self:
        return cls(
            net="teacher",
            projector=Projection(layers=2, **SMALL),
            predictor=Projection(layers=1, out=8),
            queue=20,
            learn_temperature=True,
        )

    @property
    def min_batch(self) -> int:
        return 2 if self.in_batch and not self.queue else 1

    @property
    def min_rank_batch(self) -> int:
        return self.min_batch if self.gather == "none" else 1

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """There are negatives, and options go together."""
        yield from _places(self)
        yield from width_problems(self.projector, self.predictor)
        yield from self._negatives(run)
        if self.predictor_per == "crop" and self.joint_norm:
            yield Problem("predictor_per", "`crop` has no statistics to share; leave `joint_norm` out")
        if self.scale_2t and self.learn_temperature:
            yield Problem(
                "scale_2t", "would let a learned temperature shrink the loss; leave one of the two out"
            )

    def _negatives(self, run: RunSpec) -> Iterator[Problem]:
        if not (self.in_batch or self.queue):
            yield Problem(
                "queue", "is 0 and `in_batch` is false, so there are no negatives; give one of the two"
            )
        if self.all_crops and not (self.symmetric and self.in_batch):
            yield Problem("all_crops", "needs `symmetric` and `in_batch`")
        keys = run.batch_size * self._key_crops(run)
        if 0 < self.queue < keys:
            yield Problem("queue", f"{self.queue} places do not hold the {keys} keys of one step")

    def _key_crops(self, run: RunSpec) -> int:
        crops = {name: view.crops for name, view in run.views.items()}
        if self.queue_crops == "first":
            return 1
        if self.key_view is not None:
            return crops.get(self.key_view, 1)
        return crops.get(self.view, 2) - (0 if self.symmetric else 1)

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from super().unused(run)
        needs = {
            "mode": ("masker", self.masker is not None),
            "max_scale": ("learn_temperature", self.learn_temperature),
            "exclude_self": ("all_crops", self.all_crops),
            "gather": ("in_batch", self.in_batch),
            "queue_crops": ("queue", self.queue > 0),
            "predictor_per": ("predictor", self.predictor is not None),
        }
        for field, (other, there) in needs.items():
            if not there:
                yield Problem(field, f"has no effect without `{other}`; give that too, or leave this out")

    def build(self, env: Env) -> Objective:
        from sslkit_objectives.contrastive.infonce import Contrast, Heads, InfoNCEObjective
        from sslkit_objectives.sides import Sides

        sides = Sides(self.view, self.key_view, self.masker, self.mode, self.net)
        heads = Heads(self.projector, self.predictor, self.predictor_per)
        contrast = Contrast(
            joint_norm=self.joint_norm,
            temperature=self.temperature,
            learn_temperature=self.learn_temperature,
            max_scale=self.max_scale,
            in_batch=self.in_batch,
            all_crops=self.all_crops,
            exclude_self=self.exclude_self,
            queue=self.queue,
            queue_first=self.queue_crops == "first",
            gather=self.gather,
            symmetric=self.symmetric,
            directions=self.directions,
            scale_2t=self.scale_2t,
        )
        return InfoNCEObjective(sides, heads, contrast, env)


def _places(spec: InfoNCE) -> Iterator[Problem]:
    """A view of keys is for one-way contrast."""
    if spec.key_view is not None and spec.symmetric:
        yield Problem("key_view", "goes with `symmetric: false`; for both directions give `view` 2 crops")
    if spec.key_view == spec.view:
        yield Problem("key_view", "is `view` itself; leave it out")


@final
class SimCLR(ObjectiveSpec):
    """SimCLR (Chen et al. 2020): NT-Xent among all crops of the batch."""

    kind: Literal["simclr"] = "simclr"
    view: ViewName = "global"
    """View whose crops are compared; at least 2."""
    projector: Annotated[Projection, completed_by(SIMCLR_HEAD)] = SIMCLR_HEAD
    """Head (SimCLR: 3 layers as wide as the features, 128 out, batch norm after each, over all ranks)."""
    temperature: float = Field(0.1, gt=0)
    """What cosines are divided by (SimCLR: 0.1 on ImageNet, 0.5 on CIFAR-10)."""
    directions: Literal["mean", "sum"] = "mean"
    """The mean over all crops as queries; SimCLR's own code sums over the two positions, which is twice that."""

    @classmethod
    def example(cls) -> Self:
        return cls(projector=Projection(**SMALL))

    def engine(self) -> InfoNCE:
        """What this is short for."""
        return InfoNCE(
            view=self.view,
            projector=self.projector,
            joint_norm=True,
            temperature=self.temperature,
            all_crops=True,
            directions=self.directions,
        )

    @property
    def min_batch(self) -> int:
        return 2

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        yield from self.engine().problems(run)

    def build(self, env: Env) -> Objective:
        return self.engine().build(env)


@final
class MoCoV2(ObjectiveSpec):
    """MoCo v2 (He et al. 2019, Chen et al. 2020): a query against keys of a moving average and a queue of older ones.

    The run needs the net that makes keys: `nets: {teacher: {momentum: 0.999, update: before_forward}}`.
    """

    kind: Literal["moco_v2"] = "moco_v2"
    view: ViewName = "global"
    """View of queries: its first crop. The others are keys, unless `key_view` is given."""
    key_view: ViewName | None = None
    """View of keys; then both views need 1 crop, and each net makes the one pass of MoCo's. Not if `symmetric`."""
    net: KeyNetV2 = "teacher"
    """The moving average that makes keys."""
    projector: Annotated[Projection, completed_by(MOCO_HEAD)] = MOCO_HEAD
    """Head (MoCo v2: 2 layers with biases, as wide as the features, 128 out, no batch norm; v1 and CIFAR-10: 1)."""
    temperature: float = Field(0.2, gt=0)
    """What cosines are divided by (MoCo v2's recipe: 0.2; v1: 0.07; CIFAR-10: 0.1)."""
    queue: int = Field(65536, ge=1)
    """Keys of earlier batches, the negatives (MoCo: 65536; CIFAR-10: 4096)."""
    symmetric: bool = False
    """Each crop is a query and a key in turn, and the losses are summed (MoCo's CIFAR-10 notebook)."""

    @classmethod
    def example(cls) -> Self:
        return cls(projector=Projection(**SMALL), queue=12)

    def engine(self) -> InfoNCE:
        """What this is short for."""
        return InfoNCE(
            view=self.view,
            key_view=self.key_view,
            net=self.net,
            projector=self.projector,
            temperature=self.temperature,
            in_batch=False,
            queue=self.queue,
            symmetric=self.symmetric,
            directions="sum",
        )

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        yield from self.engine().problems(run)

    def build(self, env: Env) -> Objective:
        return self.engine().build(env)


@final
class MoCoV3(ObjectiveSpec):
    """MoCo v3 (Chen, Xie, He 2021): predictions of crops against keys that a moving average makes of the batch.

    The run needs the net that makes keys, as in
    `nets: {teacher: {momentum: {start: 0.99, end: 1.0}, update: before_forward}}`.
    """

    kind: Literal["moco_v3"] = "moco_v3"
    view: ViewName = "global"
    """View whose crops are compared; at least 2."""
    net: KeyNetV3 = "teacher"
    """The moving average that makes keys."""
    projector: Annotated[Projection, completed_by(MOCO_V3_HEAD)] = MOCO_V3_HEAD
    """Head (MoCo v3, ViT: 3 layers of 4096, 256 out, a plain batch norm last; ResNet: 2 layers)."""
    predictor: Annotated[Projection, completed_by(MOCO_V3_PREDICTOR)] = MOCO_V3_PREDICTOR
    """Head of queries after it (MoCo v3, ViT: 2 layers; ResNet: without the last batch norm)."""
    predictor_per: PredictorPer = "all"
    """One predictor for all crops (MoCo v3), or one for each position: for crops augmented each in its own way."""
    temperature: float = Field(0.2, gt=0)
    """What cosines are divided by (MoCo v3, ViT: 0.2; ResNet: 1)."""

    @classmethod
    def example(cls) -> Self:
        return cls(
            projector=Projection(**SMALL),
            predictor=Projection(**SMALL),
        )

    def engine(self) -> InfoNCE:
        """What this is short for."""
        return InfoNCE(
            view=self.view,
            net=self.net,
            projector=self.projector,
            predictor=self.predictor,
            predictor_per=self.predictor_per,
            temperature=self.temperature,
            directions="sum",
            scale_2t=True,
        )

    @property
    def min_batch(self) -> int:
        return 2

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        yield from self.engine().problems(run)

    def build(self, env: Env) -> Objective:
        return self.engine().build(env)
