"""The plugin `targets`: its kinds. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable

from sslkit.plugin import Spec, hookimpl
from sslkit_targets.specs import HOG, Frequency, NormalizedPixel, Perceptual, Pixel, TeacherFeature


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The targets of this package."""
    return [Pixel, NormalizedPixel, HOG, Frequency, TeacherFeature, Perceptual]
