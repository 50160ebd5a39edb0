"""The plugin `tokenizers`: its kinds. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable

from sslkit.plugin import Spec, hookimpl
from sslkit_tokenizers.specs import VQKD, VQVAE, PatchColors, VQToken


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The tokenizers and targets of this package."""
    return [VQKD, VQVAE, VQToken, PatchColors]
