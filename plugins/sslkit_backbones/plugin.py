"""The plugin `backbones`: its kinds. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable

from sslkit.plugin import Spec, hookimpl
from sslkit_backbones.specs.any_timm import Timm
from sslkit_backbones.specs.convolutional import CNN
from sslkit_backbones.specs.transformers import Swin, ViT


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The backbones of this package."""
    return [ViT, Swin, CNN, Timm]
