"""The plugin `targets`: its kinds. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable

from sslkit.plugin import Spec, hookimpl

KINDS = {
    "target": {
        "pixel": "sslkit_targets.specs:Pixel",
        "normalized_pixel": "sslkit_targets.specs:NormalizedPixel",
        "hog": "sslkit_targets.specs:HOG",
        "frequency": "sslkit_targets.specs:Frequency",
        "teacher_feature": "sslkit_targets.specs:TeacherFeature",
        "perceptual": "sslkit_targets.specs:Perceptual",
    },
}
"""Family -> kind -> its class, which the registry imports when a spec names the kind."""


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The targets of this package."""
    from pkgutil import resolve_name

    return [resolve_name(path) for kinds in KINDS.values() for path in kinds.values()]
