"""Specs of self-distillation. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal, Self, final

from pydantic import Field

from sslkit.plugin import (
    AverageName,
    Count,
    MaskerField,
    ObjectiveSpec,
    Problem,
    Spec,
    ViewName,
    slot_default,
)

if TYPE_CHECKING:
    from sslkit.interfaces import Objective
    from sslkit.nn.dino_head import PrototypeHead
    from sslkit.plugin import Env, RunSpec


Positive = Annotated[float, Field(gt=0)]


Centering = Literal["center", "sinkhorn", "none"]
"""What keeps the teacher from choosing one prototype for all images."""


@final
class Warmup(Spec):
    """A temperature that rises linearly from `start` to `end`, epoch by epoch."""

    start: Positive
    """Temperature of the first epoch."""
    end: Positive
    """Temperature of the last epoch of the warm-up, and from then on."""
    epochs: Count
    """Epochs of the warm-up, the first and the last included: with 1 only the first one is at `start`."""
    after: int = Field(0, ge=0)
    """Epochs at `start` before the warm-up begins (iBOT's patches: the epochs without masks)."""
    per: Literal["epoch", "step"] = "epoch"
    """What it changes with: each epoch (DINO, iBOT) or each step (DINOv2)."""

    def at(self, step: int, steps_per_epoch: int) -> float:
        """The temperature at `step`: `linspace(start, end, epochs)` by epoch, or by step as many as those have."""
        unit = steps_per_epoch if self.per == "epoch" else 1
        last = self.epochs * (steps_per_epoch // unit) - 1
        place = step // unit - self.after * (steps_per_epoch // unit)
        if place > last:
            return self.end
        return self.start + (self.end - self.start) * max(0, place) / max(1, last)


Temperature = Positive | Warmup
"""A constant, or a `Warmup`."""


def temperature_at(value: Temperature, step: int, steps_per_epoch: int) -> float:
    """`value` at `step`."""
    return value.at(step, steps_per_epoch) if isinstance(value, Warmup) else value


@final
class Perceptron(Spec):
    """The part of a head before its prototypes. Defaults: DINO's."""

    layers: Count = 3
    """Linear layers, with GELU between them (DINO: 3)."""
    hidden: Count = 2048
    """Width between layers (DINO: 2048)."""
    bottleneck: Count = 256
    """Width of the last one's output, which is brought to length 1 (DINO: 256)."""


@final
class DINO(ObjectiveSpec):
    """DINO (Caron et al. 2021): local and global crops predict what a moving average says of the global ones.

    The run needs the net that it names, as in `nets: {teacher: {momentum: {start: 0.996, end: 1}}}`.
    """

    kind: Literal["dino"] = "dino"
    view: ViewName = "global"
    """View of the crops that both nets see; at least 2."""
    local: ViewName | None = "local"
    """View of the crops that only the student sees (DINO: 8 of 96 pixels); null for none."""
    masker: MaskerField | None = None
    """Hide patches of `view` from the student behind mask tokens, as in the class term of iBOT. DINO: null."""
    teacher: AverageName = "teacher"
    """The moving average under `nets` that says what to predict."""
    prototypes: Count = 65536
    """Outputs K of the head (DINO: 65536)."""
    head: Perceptron = Perceptron()
    """The head before its prototypes."""
    norm_last_layer: bool = True
    """Keep the prototypes at length 1 (DINO: true; false for ViT-S, which is better and less stable)."""
    batch_norm: bool = False
    """Batch norm in the head, over the rows of all ranks (DINO's `use_bn_in_head`: false)."""
    freeze_last_layer: int = Field(1, ge=0)
    """Epochs at the beginning in which the prototypes stay as they are (DINO: 1)."""
    student_temperature: float = Field(0.1, gt=0)
    """What the student's logits are divided by (DINO: 0.1)."""
    teacher_temperature: Temperature = 0.04
    """What the teacher's logits are divided by (DINO: 0.04; for its longest runs from 0.04 to 0.07 in 30 epochs)."""
    centering: Centering = "center"
    """Subtract the mean of the teacher's logits (DINO), assign evenly (DINOv2), or do nothing, which collapses."""
    center_momentum: float = Field(0.9, ge=0, le=1)
    """Share of the old center kept at each step (DINO: 0.9)."""
    koleo: float = Field(0.0, ge=0)
    """Weight of the KoLeo term on the student's class tokens of global crops (DINO: 0; DINOv2: 0.1)."""

    @classmethod
    def example(cls) -> Self:
        return cls(prototypes=12, head=Perceptron(layers=2, hidden=16, bottleneck=8), koleo=0.1)

    @property
    def min_batch(self) -> int:
        return 2 if self.koleo else 1

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        yield from _problems(self, run)

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from super().unused(run)
        yield from _without_center(self.centering, "center_momentum")

    def build(self, env: Env) -> Objective:
        """Class tokens only."""
        from sslkit_objectives.distillation.self_distillation import Crops, SelfDistillationObjective, Terms
        from sslkit_objectives.distillation.teacher_centering import Center

        crops = Crops(self.view, self.local, self.teacher, self.masker)
        temperature = _schedule(self.teacher_temperature, env)
        terms = Terms(self.student_temperature, temperature, self.freeze_last_layer, self.koleo)
        head = _head(self, env, batch_norm=self.batch_norm)
        center = Center(self.prototypes, self.centering, self.center_momentum)
        return SelfDistillationObjective(crops, terms, head, center, None, env)


@final
class IBOT(ObjectiveSpec):
    """iBOT (Zhou et al. 2021): DINO whose student sees masked global crops and also predicts the hidden patches.

    The run needs the net that it names, as in `nets: {teacher: {momentum: {start: 0.996, end: 1}}}`.
    """

    kind: Literal["ibot"] = "ibot"
    view: ViewName = "global"
    """View of the crops that both nets see, masked for the student; at least 2."""
    local: ViewName | None = "local"
    """View of the crops that only the student sees, unmasked (iBOT: 10 of 96 pixels); null for none."""
    teacher: AverageName = "teacher"
    """The moving average under `nets` that says what to predict, from unmasked crops."""
    masker: MaskerField = slot_default("block", recipe="ibot")
    """Which patches to hide; the count may vary (iBOT: blocks in half of the crops, 0.1 to 0.5 of their patches)."""
    prototypes: Count = 8192
    """Outputs of the head for class tokens (iBOT: 8192)."""
    shared_head: bool = True
    """Patches share the prototypes of class tokens (iBOT's recipes; its code's default is false)."""
    patch_prototypes: Count | None = None
    """Outputs for patches where they have a last layer of their own. Default: as many as `prototypes`."""
    head: Perceptron = Perceptron()
    """The head before its prototypes, which class tokens and patches always share."""
    norm_last_layer: bool = False
    """Keep the prototypes at length 1 (iBOT's recipes: false; its code's default is true)."""
    freeze_last_layer: int = Field(1, ge=0)
    """Epochs at the beginning in which the prototypes stay as they are (iBOT: 1)."""
    student_temperature: float = Field(0.1, gt=0)
    """What the student's logits are divided by (iBOT: 0.1)."""
    teacher_temperature: Temperature = 0.04
    """What the teacher's class logits are divided by (iBOT: 0.04; in its recipes from 0.04 to 0.07 in 30 epochs)."""
    patch_temperature: Temperature = Warmup(start=0.04, end=0.07, epochs=30)
    """What the teacher's patch logits are divided by (iBOT: from 0.04 to 0.07 in 30 epochs)."""
    centering: Centering = "center"
    """Subtract the means of the teacher's logits (iBOT), or assign crops and patches to prototypes evenly (DINOv2)."""
    center_momentum: float = Field(0.9, ge=0, le=1)
    """Share of the old center of class tokens kept at each step (iBOT: 0.9)."""
    patch_center_momentum: float = Field(0.9, ge=0, le=1)
    """Share of the old center of patches kept at each step (iBOT: 0.9)."""
    patch_center: Literal["all", "hidden"] = "all"
    """Patches whose mean moves their center: all (iBOT) or the hidden ones (DINOv2)."""
    class_weight: float = Field(1.0, ge=0)
    """Weight of the class tokens' loss (iBOT's `lambda1`: 1)."""
    patch_weight: float = Field(1.0, ge=0)
    """Weight of the patches' loss (iBOT's `lambda2`: 1)."""
    koleo: float = Field(0.0, ge=0)
    """Weight of the KoLeo term on the student's class tokens of global crops (iBOT: 0; DINOv2: 0.1)."""

    @classmethod
    def example(cls) -> Self:
        """A narrow head with few prototypes, of other numbers for class tokens and patches."""
        perceptron = Perceptron(layers=2, hidden=16, bottleneck=8)
        return cls(prototypes=12, shared_head=False, patch_prototypes=10, head=perceptron)

    @property
    def min_batch(self) -> int:
        return 2 if self.koleo else 1

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """Patches have prototypes of their own or not."""
        yield from _problems(self, run)
        if self.shared_head and self.patch_prototypes is not None:
            yield Problem("patch_prototypes", "goes with `shared_head: false`; leave one of the two out")

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from super().unused(run)
        yield from _without_center(self.centering, "center_momentum", "patch_center_momentum", "patch_center")

    def build(self, env: Env) -> Objective:
        """Class tokens, and hidden patches by prototypes that are shared or their own."""
        from sslkit_objectives.distillation.self_distillation import Crops, SelfDistillationObjective, Terms
        from sslkit_objectives.distillation.teacher_centering import Center

        crops = Crops(self.view, self.local, self.teacher, self.masker)
        terms = Terms(
            self.student_temperature,
            _schedule(self.teacher_temperature, env),
            self.freeze_last_layer,
            self.koleo,
            self.class_weight,
            _schedule(self.patch_temperature, env),
            self.patch_weight,
            self.patch_center == "all",
        )
        patch_prototypes = None if self.shared_head else self.patch_prototypes or self.prototypes
        head = _head(self, env, patch_prototypes=patch_prototypes)
        center = Center(self.prototypes, self.centering, self.center_momentum)
        patches = Center(patch_prototypes or self.prototypes, self.centering, self.patch_center_momentum)
        return SelfDistillationObjective(crops, terms, head, center, patches, env)


@final
class MaskedDistillation(ObjectiveSpec):
    """iBOT's patch term on its own: the student predicts what a moving average says of the patches it does not see.

    A term for hybrids: with `dino`, whose `masker` is equal, it is iBOT with separate heads. The run needs the net
    that it names, as in `nets: {teacher: {momentum: {start: 0.996, end: 1}}}`.
    """

    kind: Literal["masked_distillation"] = "masked_distillation"
    view: ViewName = "global"
    """View of the crops that both nets see, masked for the student."""
    teacher: AverageName = "teacher"
    """The moving average under `nets` that says what to predict, from unmasked crops."""
    masker: MaskerField = slot_default("block", recipe="ibot")
    """Which patches to hide; the count may vary (iBOT: blocks in half of the crops, 0.1 to 0.5 of their patches)."""
    prototypes: Count = 8192
    """Outputs of the head (iBOT: 8192)."""
    head: Perceptron = Perceptron()
    """The head before its prototypes."""
    norm_last_layer: bool = False
    """Keep the prototypes at length 1 (iBOT's recipes: false; its code's default is true)."""
    freeze_last_layer: int = Field(1, ge=0)
    """Epochs at the beginning in which the prototypes stay as they are (iBOT: 1)."""
    student_temperature: float = Field(0.1, gt=0)
    """What the student's logits are divided by (iBOT: 0.1)."""
    teacher_temperature: Temperature = Warmup(start=0.04, end=0.07, epochs=30)
    """What the teacher's logits are divided by (iBOT: from 0.04 to 0.07 in 30 epochs)."""
    centering: Centering = "center"
    """Subtract the mean of the teacher's logits (iBOT), or assign patches to prototypes evenly (DINOv2)."""
    center_momentum: float = Field(0.9, ge=0, le=1)
    """Share of the old center kept at each step (iBOT: 0.9)."""
    patch_center: Literal["all", "hidden"] = "all"
    """Patches whose mean moves the center: all (iBOT) or the hidden ones (DINOv2)."""

    @classmethod
    def example(cls) -> Self:
        return cls(prototypes=12, head=Perceptron(layers=2, hidden=16, bottleneck=8))

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from super().unused(run)
        yield from _without_center(self.centering, "center_momentum", "patch_center")

    def build(self, env: Env) -> Objective:
        """Hidden patches only, with a head of their own."""
        from sslkit_objectives.distillation.self_distillation import Crops, SelfDistillationObjective, Terms
        from sslkit_objectives.distillation.teacher_centering import Center

        crops = Crops(self.view, None, self.teacher, self.masker, fewest=1)
        terms = Terms(
            self.student_temperature,
            None,
            self.freeze_last_layer,
            patch_temperature=_schedule(self.teacher_temperature, env),
            patch_weight=1.0,
            center_all=self.patch_center == "all",
        )
        patches = Center(self.prototypes, self.centering, self.center_momentum)
        return SelfDistillationObjective(crops, terms, _head(self, env), None, patches, env)


def _schedule(value: Temperature, env: Env) -> Callable[[int], float]:
    """`value` by step."""
    return partial(temperature_at, value, steps_per_epoch=env.length.steps_per_epoch)


def _head(
    spec: DINO | IBOT | MaskedDistillation,
    env: Env,
    *,
    batch_norm: bool = False,
    patch_prototypes: int | None = None,
) -> PrototypeHead:
    """The student's head: a multilayer perceptron and prototypes, those of patches apart where they are given."""
    from sslkit.nn.dino_head import PrototypeHead

    return PrototypeHead(
        env.net("student").dim,
        spec.prototypes,
        layers=spec.head.layers,
        hidden=spec.head.hidden,
        bottleneck=spec.head.bottleneck,
        norm_last_layer=spec.norm_last_layer,
        batch_norm=batch_norm,
        patch_prototypes=patch_prototypes,
    )


def _problems(spec: DINO | IBOT, run: RunSpec) -> Iterator[Problem]:
    """What both methods need of a run."""
    if run.views[spec.view].crops < 2:
        yield Problem("view", f"needs at least 2 crops; set `views.{spec.view}.crops` to 2")
    if spec.local == spec.view:
        yield Problem("local", f"is {spec.local!r}, as `view` is; name another view, or null")


def _without_center(centering: Centering, *fields: str) -> Iterator[Problem]:
    if centering != "center":
        for field in fields:
            yield Problem(field, f"is for `centering: center`, found {centering!r}; leave it out")
