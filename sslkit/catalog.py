"""Which kinds exist, by family. Specs read it; the registry fills it; neither imports the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping

Kinds = Mapping[str, type]
"""kind -> spec class, within one family."""

_provider: Callable[[str], Kinds] | None = None


def provide(provider: Callable[[str], Kinds]) -> None:
    """Name the function that answers `kinds`. `sslkit/__init__.py` gives the registry's."""
    global _provider
    _provider = provider


def kinds(family: str) -> Kinds:
    """The registered spec classes of `family`, by kind.

    Raises:
        PluginConflictError: two plugins offer the same kind.
    """
    if _provider is None:
        raise AssertionError("`sslkit/__init__.py` names the provider at import")
    return _provider(family)
