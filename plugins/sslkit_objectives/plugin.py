"""The plugin `objectives`: its kinds. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable

from sslkit.plugin import Spec, hookimpl

KINDS = {
    "objective": {
        "mae": "sslkit_objectives.specs.masked:MAE",
        "simmim": "sslkit_objectives.specs.masked:SimMIM",
        "maskfeat": "sslkit_objectives.specs.masked:MaskFeat",
        "data2vec": "sslkit_objectives.specs.masked:Data2Vec",
        "beit": "sslkit_objectives.specs.masked:BEiT",
        "ijepa": "sslkit_objectives.specs.ijepa:IJEPA",
        "capi": "sslkit_objectives.specs.capi:CAPI",
        "infonce": "sslkit_objectives.specs.contrastive:InfoNCE",
        "simclr": "sslkit_objectives.specs.contrastive:SimCLR",
        "moco_v2": "sslkit_objectives.specs.contrastive:MoCoV2",
        "moco_v3": "sslkit_objectives.specs.contrastive:MoCoV3",
        "nnclr": "sslkit_objectives.specs.nnclr:NNCLR",
        "dense_cl": "sslkit_objectives.specs.dense_cl:DenseCL",
        "byol": "sslkit_objectives.specs.joint_embedding:BYOL",
        "simsiam": "sslkit_objectives.specs.joint_embedding:SimSiam",
        "barlow_twins": "sslkit_objectives.specs.joint_embedding:BarlowTwins",
        "vicreg": "sslkit_objectives.specs.joint_embedding:VICReg",
        "msn": "sslkit_objectives.specs.msn:MSN",
        "swav": "sslkit_objectives.specs.joint_embedding:SwAV",
        "lejepa": "sslkit_objectives.specs.lejepa:LeJEPA",
        "tico": "sslkit_objectives.specs.moments:TiCo",
        "wmse": "sslkit_objectives.specs.moments:WMSE",
        "rotation": "sslkit_objectives.specs.joint_embedding:Rotation",
        "dino": "sslkit_objectives.specs.dino:DINO",
        "dinov2": "sslkit_objectives.specs.dinov2:DINOv2",
        "ibot": "sslkit_objectives.specs.ibot:IBOT",
        "masked_distillation": "sslkit_objectives.specs.masked_distillation:MaskedDistillation",
        "hybrid": "sslkit_objectives.specs.hybrid:Hybrid",
        "variance_covariance": "sslkit_objectives.specs.regularizers:VarianceCovariance",
        "uniformity": "sslkit_objectives.specs.regularizers:Uniformity",
        "distill": "sslkit_objectives.specs.distill:Distill",
        "anchor": "sslkit_objectives.specs.anchor:Anchor",
        "gram": "sslkit_objectives.specs.gram:Gram",
        "sigreg": "sslkit_objectives.specs.regularizers:SIGReg",
        "koleo": "sslkit_objectives.specs.regularizers:KoLeo",
    },
}
"""Family -> kind -> its class, which the registry imports when a spec names the kind."""


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The objectives of this package."""
    from pkgutil import resolve_name

    return [resolve_name(path) for kinds in KINDS.values() for path in kinds.values()]
