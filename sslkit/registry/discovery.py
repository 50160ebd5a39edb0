"""Entry points of installed plugins, whatever state their metadata is in."""

from __future__ import annotations

import functools
from importlib import metadata
from pathlib import Path

GROUP = "sslkit"
BUILT_IN = "sslkit"
"""The distribution that the built-in plugins come with."""


def discover() -> list[metadata.EntryPoint]:
    """The entry points of plugins: the built-in ones first, then by name, as nothing may depend on the file system.

    Of several versions of a distribution, those of the first on the path.
    """
    return sorted(metadata.entry_points(group=GROUP), key=_order)


def name_and_version(installed: metadata.Distribution | None) -> tuple[str, str]:
    """Name and version of a distribution; as far as its metadata leave them out, its folder's name and 0."""
    return ("unknown", "0") if installed is None else _read(installed)


@functools.cache
def _read(installed: metadata.Distribution) -> tuple[str, str]:
    """`metadata` parses the whole file as an email at every access, and the built-ins share one."""
    folder = Path(str(getattr(installed, "_path", "unknown"))).name
    try:
        head = (installed.read_text("METADATA") or installed.read_text("PKG-INFO") or "").partition("\n\n")[0]
    except Exception:  # the file is no text
        head = ""
    fields = {key: value.strip() for key, _, value in (line.partition(":") for line in head.splitlines())}
    return fields.get("Name") or folder.partition("-")[0], fields.get("Version") or "0"


def described(error: BaseException) -> str:
    """`error` in one line, even if it cannot say what it is."""
    try:
        text = " ".join(map(str.strip, str(error).splitlines()))
    except Exception:
        text = "(its message cannot be shown)"
    shown = text if len(text) <= 300 else f"{text[:300]} ..."
    return f"{type(error).__name__}: {shown}"


def _order(entry_point: metadata.EntryPoint) -> tuple[bool, str, str]:
    owner, _ = name_and_version(entry_point.dist)
    return owner != BUILT_IN, owner, entry_point.name
