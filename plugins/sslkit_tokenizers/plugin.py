"""The plugin `tokenizers`: its kinds. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable

from sslkit.plugin import Spec, hookimpl

KINDS = {
    "objective": {
        "vq_kd": "sslkit_tokenizers.specs:VQKD",
        "vq_vae": "sslkit_tokenizers.specs:VQVAE",
    },
    "target": {
        "vq_token": "sslkit_tokenizers.specs:VQToken",
        "patch_colors": "sslkit_tokenizers.specs:PatchColors",
    },
}
"""Family -> kind -> its class, which the registry imports when a spec names the kind."""


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The tokenizers and targets of this package."""
    from pkgutil import resolve_name

    return [resolve_name(path) for kinds in KINDS.values() for path in kinds.values()]
