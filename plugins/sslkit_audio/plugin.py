"""The plugin `audio`: its kinds. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sslkit.plugin import Spec, hookimpl

KINDS: Mapping[str, Mapping[str, str]] = {}
"""Family -> kind -> its class, which the registry imports when a spec names the kind."""


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The kinds of this package."""
    return []
