"""The plugin `sources`: its kinds. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable

from sslkit.plugin import Spec, hookimpl
from sslkit_sources.specs.folder import Folder
from sslkit_sources.specs.images import CIFAR10, Digits
from sslkit_sources.specs.parquet import Parquet
from sslkit_sources.specs.segmentation_masks import Segmentation


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The sources of this package."""
    return [Digits, Folder, CIFAR10, Parquet, Segmentation]
