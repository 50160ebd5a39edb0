"""The plugin `augments`: its kinds. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable

from sslkit.plugin import Spec, hookimpl
from sslkit_augments.specs.colors import ColorJitter, GaussianBlur, Grayscale, Solarize
from sslkit_augments.specs.shapes import HorizontalFlip, RandomAffine, RandomResizedCrop, Resize
from sslkit_augments.specs.turns import Turn


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The augments of this package."""
    return [
        RandomResizedCrop,
        Resize,
        HorizontalFlip,
        RandomAffine,
        Turn,
        ColorJitter,
        Grayscale,
        GaussianBlur,
        Solarize,
    ]
