"""DINO: a preset of the engine."""

from __future__ import annotations

from sslkit.plugin import Env
from sslkit_objectives.distillation.prototype_heads import prototype_head
from sslkit_objectives.distillation.self_distillation import Crops, SelfDistillationObjective, Terms
from sslkit_objectives.distillation.teacher_centering import Center
from sslkit_objectives.specs.distillation import DINO


def self_distillation(spec: DINO, env: Env) -> SelfDistillationObjective:
    """Class tokens only."""
    head = prototype_head(spec, env, batch_norm=spec.batch_norm)
    terms = Terms(spec.student_temperature, spec.teacher_temperature, spec.freeze_last_layer, spec.koleo)
    center = Center(spec.prototypes, spec.centering, spec.center_momentum)
    return SelfDistillationObjective(
        Crops(spec.view, spec.local, spec.teacher, spec.masker), terms, head, center, None, env
    )
