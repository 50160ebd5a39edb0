"""Specs of this package. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable

from sslkit.registry.hookspecs import hookimpl
from sslkit.spec.base import Spec


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The kinds of this package."""
    return []
