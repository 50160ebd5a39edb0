"""Spec of iBOT's patch term on its own. Torch-free."""

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
    prototype_head,
    schedule_of,
    without_center,
)

if TYPE_CHECKING:
    from sslkit.interfaces import Objective
    from sslkit.plugin import Env, RunSpec


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
        yield from without_center(self.centering, "center_momentum", "patch_center")

    def build(self, env: Env) -> Objective:
        """Hidden patches only, with a head of their own."""
        from sslkit_objectives.distillation.self_distillation import Crops, SelfDistillationObjective, Terms
        from sslkit_objectives.distillation.teacher_centering import Center

        crops = Crops(self.view, None, self.teacher, self.masker, fewest=1)
        terms = Terms(
            self.student_temperature,
            None,
            self.freeze_last_layer,
            patch_temperature=schedule_of(self.teacher_temperature, env),
            patch_weight=1.0,
            center_all=self.patch_center == "all",
        )
        patches = Center(self.prototypes, self.centering, self.center_momentum)
        return SelfDistillationObjective(crops, terms, prototype_head(self, env), None, patches, env)
