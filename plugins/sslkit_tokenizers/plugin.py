"""The plugin `tokenizers`: its kinds. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable

from sslkit.plugin import Spec, hookimpl
from sslkit_tokenizers.specs import VQKD, VQVAE, VQToken


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The tokenizers and their target of this package."""
    return [VQKD, VQVAE, VQToken]
