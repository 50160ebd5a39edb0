"""DINO projection head from a spec."""

from __future__ import annotations

from sslkit.nn.dino_head import PrototypeHead
from sslkit.plugin import Env
from sslkit_objectives.specs.distillation import DINO, IBOT, MaskedDistillation


def prototype_head(
    spec: DINO | IBOT | MaskedDistillation,
    env: Env,
    *,
    batch_norm: bool = False,
    patch_prototypes: int | None = None,
) -> PrototypeHead:
    """The student's head: a multilayer perceptron and prototypes, those of patches apart where they are given."""
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
