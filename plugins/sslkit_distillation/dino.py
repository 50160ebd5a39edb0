"""DINO: a preset of the engine."""

from __future__ import annotations

from sslkit.core.env import Env
from sslkit_distillation.centering import Center
from sslkit_distillation.engine import Crops, SelfDistillation, Terms
from sslkit_distillation.heads import prototype_head
from sslkit_distillation.plugin import DINO


def self_distillation(spec: DINO, env: Env) -> SelfDistillation:
    """Class tokens only."""
    head = prototype_head(spec, env, batch_norm=spec.batch_norm)
    terms = Terms(spec.student_temperature, spec.teacher_temperature, spec.freeze_last_layer, spec.koleo)
    center = Center(spec.prototypes, spec.centering, spec.center_momentum)
    return SelfDistillation(
        Crops(spec.view, spec.local, spec.teacher, spec.masker), terms, head, center, None, env
    )
