"""The plugin `objectives`: its kinds. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable

from sslkit.plugin import Spec, hookimpl
from sslkit_objectives.specs.contrastive import InfoNCE, MoCoV2, MoCoV3, SimCLR
from sslkit_objectives.specs.dino import DINO
from sslkit_objectives.specs.hybrid import Hybrid
from sslkit_objectives.specs.ibot import IBOT
from sslkit_objectives.specs.joint_embedding import BYOL, BarlowTwins, Rotation, SimSiam, SwAV, VICReg
from sslkit_objectives.specs.masked import MAE, BEiT, Data2Vec, MaskFeat, SimMIM
from sslkit_objectives.specs.masked_distillation import MaskedDistillation
from sslkit_objectives.specs.regularizers import KoLeo, Uniformity, VarianceCovariance


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The objectives of this package."""
    return [
        MAE,
        SimMIM,
        MaskFeat,
        Data2Vec,
        BEiT,
        InfoNCE,
        SimCLR,
        MoCoV2,
        MoCoV3,
        BYOL,
        SimSiam,
        BarlowTwins,
        VICReg,
        SwAV,
        Rotation,
        DINO,
        IBOT,
        MaskedDistillation,
        Hybrid,
        VarianceCovariance,
        Uniformity,
        KoLeo,
    ]
