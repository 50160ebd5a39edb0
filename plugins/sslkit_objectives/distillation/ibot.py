"""iBOT: a preset of the engine."""

from __future__ import annotations

from sslkit.plugin import Env
from sslkit_objectives.distillation.prototype_heads import prototype_head
from sslkit_objectives.distillation.self_distillation import Crops, SelfDistillationObjective, Terms
from sslkit_objectives.distillation.teacher_centering import Center
from sslkit_objectives.specs.distillation import IBOT, MaskedDistillation


def masked_self_distillation(spec: IBOT, env: Env) -> SelfDistillationObjective:
    """Class tokens, and hidden patches by prototypes that are shared or their own."""
    patch_prototypes = None if spec.shared_head else spec.patch_prototypes or spec.prototypes
    head = prototype_head(spec, env, patch_prototypes=patch_prototypes)
    terms = Terms(
        spec.student_temperature,
        spec.teacher_temperature,
        spec.freeze_last_layer,
        spec.koleo,
        spec.class_weight,
        spec.patch_temperature,
        spec.patch_weight,
        spec.patch_center == "all",
    )
    center = Center(spec.prototypes, spec.centering, spec.center_momentum)
    patches = Center(patch_prototypes or spec.prototypes, spec.centering, spec.patch_center_momentum)
    crops = Crops(spec.view, spec.local, spec.teacher, spec.masker)
    return SelfDistillationObjective(crops, terms, head, center, patches, env)


def masked_distillation(spec: MaskedDistillation, env: Env) -> SelfDistillationObjective:
    """Hidden patches only, with a head of their own."""
    head = prototype_head(spec, env)
    terms = Terms(
        spec.student_temperature,
        1.0,
        spec.freeze_last_layer,
        patch_temperature=spec.teacher_temperature,
        patch_weight=1.0,
        center_all=spec.patch_center == "all",
    )
    patches = Center(spec.prototypes, spec.centering, spec.center_momentum)
    crops = Crops(spec.view, None, spec.teacher, spec.masker, fewest=1)
    return SelfDistillationObjective(crops, terms, head, None, patches, env)
