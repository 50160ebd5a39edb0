"""The plugin `maskers`: its kinds. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable

from sslkit.plugin import Spec, hookimpl

KINDS = {
    "masker": {
        "random": "sslkit_maskers.specs.unguided:RandomMasker",
        "bernoulli": "sslkit_maskers.specs.unguided:BernoulliMasker",
        "block": "sslkit_maskers.specs.unguided:BlockMasker",
        "inverse_block": "sslkit_maskers.specs.unguided:InverseBlockMasker",
        "multi_block": "sslkit_maskers.specs.multi_block:MultiBlockMasker",
        "grid": "sslkit_maskers.specs.unguided:GridMasker",
        "unit": "sslkit_maskers.specs.unguided:UnitMasker",
        "mixture": "sslkit_maskers.specs.unguided:MixtureMasker",
        "curriculum": "sslkit_maskers.specs.unguided:CurriculumMasker",
        "complexity": "sslkit_maskers.specs.guided:ComplexityMasker",
        "information": "sslkit_maskers.specs.guided:InformationMasker",
        "attention": "sslkit_maskers.specs.guided:AttentionMasker",
        "semantic": "sslkit_maskers.specs.guided:SemanticMasker",
        "difficulty": "sslkit_maskers.specs.guided:DifficultyMasker",
    },
}
"""Family -> kind -> its class, which the registry imports when a spec names the kind."""


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The maskers of this package."""
    from pkgutil import resolve_name

    return [resolve_name(path) for kinds in KINDS.values() for path in kinds.values()]
