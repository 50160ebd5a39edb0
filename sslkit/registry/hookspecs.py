"""Hook specifications of plugins. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from sslkit.specs.base import Spec

hookspec = pluggy.HookspecMarker("sslkit")
hookimpl = pluggy.HookimplMarker("sslkit")
"""Decorator of a plugin's functions that sslkit calls."""


@hookspec
def sslkit_specs() -> Iterable[type[Spec]]:  # type: ignore[empty-body]
    """Return the spec classes that this plugin offers.

    Called once, when the plugins are loaded, unless their module lists its classes as `KINDS`. Each class derives
    from one of the families (`MaskerSpec`, `TargetSpec`, ...) and sets `kind` to a name that no other plugin uses in
    that family.
    """
