"""The plugin `sources`: its kinds. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable

from sslkit.plugin import Spec, hookimpl
from sslkit_sources.specs.images import CIFAR10, Digits, Folder, Parquet
from sslkit_sources.specs.segmentation_masks import Segmentation


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The sources of this package."""
    return [Digits, Folder, CIFAR10, Parquet, Segmentation]
