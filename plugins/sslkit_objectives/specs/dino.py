"""Spec of DINO. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal, Self, final

from pydantic import Field

from sslkit.plugin import AverageName, Count, MaskerField, ObjectiveSpec, Problem, ViewName
from sslkit_objectives.specs.distillation_parts import (
    Centering,
    Perceptron,
    Temperature,
    crop_problems,
    prototype_head,
    schedule_of,
    without_center,
)

if TYPE_CHECKING:
    from sslkit.interfaces import Objective
    from sslkit.plugin import Env, RunSpec


@final
class DINO(ObjectiveSpec):
    """DINO (Caron et al. 2021): local and global crops predict what a moving average says of the global ones.

    The run needs the net that it names, as in `nets: {teacher: {momentum: {start: 0.996, end: 1}}}`.
    """

    scores_patches: ClassVar[bool] = False

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
        yield from crop_problems(self.view, self.local, run)

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        yield from super().unused(run)
        yield from without_center(self.centering, "center_momentum")

    def build(self, env: Env) -> Objective:
        """Class tokens only."""
        from sslkit_objectives.distillation.self_distillation import Crops, SelfDistillationObjective, Terms
        from sslkit_objectives.distillation.teacher_centering import Center

        crops = Crops(self.view, self.local, self.teacher, self.masker)
        temperature = schedule_of(self.teacher_temperature, env)
        terms = Terms(self.student_temperature, temperature, self.freeze_last_layer, self.koleo)
        head = prototype_head(self, env, batch_norm=self.batch_norm)
        center = Center(self.prototypes, self.centering, self.center_momentum)
        return SelfDistillationObjective(crops, terms, head, center, None, env)
