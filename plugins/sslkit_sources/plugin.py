"""The plugin `sources`: its kinds. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable

from sslkit.plugin import Spec, hookimpl

KINDS = {
    "source": {
        "digits": "sslkit_sources.specs.images:Digits",
        "folder": "sslkit_sources.specs.folder:Folder",
        "cifar10": "sslkit_sources.specs.images:CIFAR10",
        "python_data": "sslkit_sources.specs.python_data:PythonData",
        "parquet": "sslkit_sources.specs.parquet:Parquet",
        "segmentation": "sslkit_sources.specs.segmentation_masks:Segmentation",
    },
}
"""Family -> kind -> its class, which the registry imports when a spec names the kind."""


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The sources of this package."""
    from pkgutil import resolve_name

    return [resolve_name(path) for kinds in KINDS.values() for path in kinds.values()]
