"""Spec of iBOT. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, Self, final

from pydantic import Field

from sslkit.plugin import AverageName, Count, MaskerField, ObjectiveSpec, Problem, ViewName, slot_default
from sslkit_objectives.specs.distillation_parts import (
    Centering,
    Perceptron,
    Temperature,
    Warmup,
    crop_problems,
    prototype_head,
    schedule_of,
    without_center,
)

if TYPE_CHECKING:
    from sslkit.interfaces import Objective
    from sslkit.plugin import Env, RunSpec


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
        yield from crop_problems(self.view, self.local, run)
        if self.shared_head and self.patch_prototypes is not None:
            yield Problem("patch_prototypes", "goes with `shared_head: false`; leave one of the two out")

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from super().unused(run)
        yield from without_center(self.centering, "center_momentum", "patch_center_momentum", "patch_center")

    def build(self, env: Env) -> Objective:
        """Class tokens, and hidden patches by prototypes that are shared or their own."""
        from sslkit_objectives.distillation.self_distillation import Crops, SelfDistillationObjective, Terms
        from sslkit_objectives.distillation.teacher_centering import Center

        crops = Crops(self.view, self.local, self.teacher, self.masker)
        terms = Terms(
            self.student_temperature,
            schedule_of(self.teacher_temperature, env),
            self.freeze_last_layer,
            self.koleo,
            self.class_weight,
            schedule_of(self.patch_temperature, env),
            self.patch_weight,
            self.patch_center == "all",
        )
        patch_prototypes = None if self.shared_head else self.patch_prototypes or self.prototypes
        head = prototype_head(self, env, patch_prototypes=patch_prototypes)
        center = Center(self.prototypes, self.centering, self.center_momentum)
        patches = Center(patch_prototypes or self.prototypes, self.centering, self.patch_center_momentum)
        return SelfDistillationObjective(crops, terms, head, center, patches, env)
