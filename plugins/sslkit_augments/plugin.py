"""The plugin `augments`: its kinds. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable

from sslkit.plugin import Spec, hookimpl

KINDS = {
    "augment": {
        "random_resized_crop": "sslkit_augments.specs.shapes:RandomResizedCrop",
        "resize": "sslkit_augments.specs.shapes:Resize",
        "flip": "sslkit_augments.specs.shapes:HorizontalFlip",
        "random_affine": "sslkit_augments.specs.shapes:RandomAffine",
        "turn": "sslkit_augments.specs.turns:Turn",
        "color_jitter": "sslkit_augments.specs.colors:ColorJitter",
        "grayscale": "sslkit_augments.specs.colors:Grayscale",
        "gaussian_blur": "sslkit_augments.specs.colors:GaussianBlur",
        "solarize": "sslkit_augments.specs.colors:Solarize",
    },
}
"""Family -> kind -> its class, which the registry imports when a spec names the kind."""


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The augments of this package."""
    from pkgutil import resolve_name

    return [resolve_name(path) for kinds in KINDS.values() for path in kinds.values()]
