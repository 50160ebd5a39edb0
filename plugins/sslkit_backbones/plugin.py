"""The plugin `backbones`: its kinds. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable

from sslkit.plugin import Spec, hookimpl

KINDS = {
    "backbone": {
        "vit": "sslkit_backbones.specs.transformers:ViT",
        "swin": "sslkit_backbones.specs.transformers:Swin",
        "cnn": "sslkit_backbones.specs.convolutional:CNN",
        "python_module": "sslkit_backbones.specs.python_modules:PythonModule",
        "timm": "sslkit_backbones.specs.any_timm:Timm",
    },
}
"""Family -> kind -> its class, which the registry imports when a spec names the kind."""


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The backbones of this package."""
    from pkgutil import resolve_name

    return [resolve_name(path) for kinds in KINDS.values() for path in kinds.values()]
