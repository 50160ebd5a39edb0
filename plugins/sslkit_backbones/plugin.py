"""Specs of the built-in backbones. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable

from sslkit.registry.hookspecs import hookimpl
from sslkit.spec.base import Spec


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The backbones of this package."""
    return []
