"""The plugin `maskers`: its kinds. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable

from sslkit.plugin import Spec, hookimpl
from sslkit_maskers.specs.guided import (
    AttentionMasker,
    ComplexityMasker,
    DifficultyMasker,
    InformationMasker,
    SemanticMasker,
)
from sslkit_maskers.specs.unguided import (
    BernoulliMasker,
    BlockMasker,
    CurriculumMasker,
    GridMasker,
    InverseBlockMasker,
    MixtureMasker,
    RandomMasker,
    UnitMasker,
)


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The maskers of this package."""
    return [
        RandomMasker,
        BernoulliMasker,
        BlockMasker,
        InverseBlockMasker,
        GridMasker,
        UnitMasker,
        MixtureMasker,
        CurriculumMasker,
        ComplexityMasker,
        InformationMasker,
        AttentionMasker,
        SemanticMasker,
        DifficultyMasker,
    ]
