"""Spec of DINOv2's composition. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, Self, final

from pydantic import Field

from sslkit.plugin import (
    AverageName,
    BalancerField,
    Combined,
    Count,
    MaskerField,
    ObjectiveSpec,
    Problem,
    SpecError,
    ViewName,
    slot_default,
)
from sslkit_objectives.specs.dino import DINO
from sslkit_objectives.specs.distillation_parts import (
    Centering,
    Perceptron,
    Temperature,
    Warmup,
    crop_problems,
)
from sslkit_objectives.specs.masked_distillation import MaskedDistillation

if TYPE_CHECKING:
    from sslkit.interfaces import Objective
    from sslkit.plugin import Env, RunSpec

SCHEDULE = Warmup(start=0.04, end=0.07, epochs=30, per="step")


@final
class DINOv2(ObjectiveSpec):
    """DINOv2 (Oquab et al. 2023): DINO with KoLeo and iBOT, each with a head of its own, on the same passes.

    A hybrid of `dino` and `masked_distillation`, whose metrics go by `dino` and `ibot`. The run needs the net that it
    names, as in `nets: {teacher: {momentum: {start: 0.992, end: 1}}}`.
    """

    kind: Literal["dinov2"] = "dinov2"
    view: ViewName = "global"
    """View of the crops that both nets see, masked for the student; at least 2."""
    local: ViewName | None = "local"
    """View of the crops that only the student sees (DINOv2: 8 of 96 pixels); null for none."""
    teacher: AverageName = "teacher"
    """The moving average under `nets` that says what to predict."""
    masker: MaskerField = slot_default("block", recipe="dinov2")
    """Which patches to hide (DINOv2: blocks in half of the crops, 0.1 to 0.5 of their patches)."""
    prototypes: Count = 65536
    """Outputs of the head of class tokens (DINOv2: 65536, for ViT-L/14 and ViT-g/14 131072)."""
    patch_prototypes: Count | None = None
    """Outputs of the head of patches. Default: as many."""
    head: Perceptron = Perceptron()
    """Both heads before their prototypes (DINOv2: 3 layers of 2048, 256 out)."""
    freeze_last_layer: int = Field(1, ge=0)
    """Epochs at the beginning in which the prototypes stay as they are (DINOv2: 1)."""
    student_temperature: float = Field(0.1, gt=0)
    """What the student's logits are divided by (DINOv2: 0.1)."""
    teacher_temperature: Temperature = SCHEDULE
    """What the teacher's logits are divided by (DINOv2: from 0.04 to 0.07 in 30 epochs, step by step)."""
    centering: Centering = "sinkhorn"
    """Assign crops and patches to prototypes evenly (DINOv2's recipes), or subtract means of logits (its default)."""
    koleo: float = Field(0.1, ge=0)
    """Weight of KoLeo on the student's class tokens, summed over global crops (DINOv2: 0.1)."""
    patch_weight: float = Field(1.0, ge=0)
    """Weight of hidden patches beside class tokens (DINOv2: 1)."""
    balance: BalancerField = slot_default("fixed")
    """How the two losses become one."""

    @classmethod
    def example(cls) -> Self:
        return cls(prototypes=12, head=Perceptron(layers=2, hidden=16, bottleneck=8))

    @property
    def min_batch(self) -> int:
        return 2 if self.koleo else 1

    def combined(self) -> Combined:
        """DINO and iBOT's patch term, which share their passes."""
        ends = {"teacher": self.teacher, "view": self.view, "masker": self.masker, "head": self.head}
        common = {**ends, "centering": self.centering, "freeze_last_layer": self.freeze_last_layer}
        common |= {"student_temperature": self.student_temperature, "norm_last_layer": False}
        common |= {"teacher_temperature": self.teacher_temperature}
        dino = DINO(local=self.local, prototypes=self.prototypes, koleo=self.koleo, **common)
        hidden = {"patch_center": "hidden"} if self.centering == "center" else {}
        patches = self.patch_prototypes or self.prototypes
        ibot = MaskedDistillation(prototypes=patches, weight=self.patch_weight, **hidden, **common)
        return Combined({"dino": dino, "ibot": ibot}, self.balance)

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        yield from crop_problems(self.view, self.local, run)

    def build(self, env: Env) -> Objective:
        """Runs build the terms themselves.

        Raises:
            SpecError: always; a hybrid has no module of its own.
        """
        raise SpecError("`dinov2` is a hybrid and no module of its own: build the run that it is part of")
