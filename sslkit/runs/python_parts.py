"""What a run has from Python alone: objects in its spec, and kinds that a script registered."""

from __future__ import annotations

from collections.abc import Mapping

from sslkit.registry.manager import REGISTERED, registry
from sslkit.specs.python_objects import objects_in
from sslkit.specs.run import RunSpec
from sslkit.specs.walk import walk


def python_parts(spec: RunSpec) -> dict[str, Mapping[str, str | int]]:
    """Dotted path -> what is told of an object, or of the module that registered a kind; empty for most runs."""
    parts: dict[str, Mapping[str, str | int]] = {path: held.about for path, held in objects_in(spec)}
    for path, part in walk(spec):
        plugin = registry().owner(part)
        if plugin is not None and plugin.name.startswith(f"{REGISTERED}:"):
            parts[path] = {"kind": part.kind_name(), "registered": plugin.name.partition(":")[2]}
    return parts


def resume_note(spec: RunSpec) -> str:
    """That the run goes on in Python alone, and what it needs there; empty for runs that go on from their files."""
    parts = python_parts(spec)
    if not parts:
        return ""
    names = [
        f"{path} ({about['python']})" if "python" in about else f"{path} (kind {about['kind']!r})"
        for path, about in parts.items()
    ]
    return (
        f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} of Python alone: this run can be resumed only there, "
        "with the same objects and kinds, by the same `Run(...)` and its `fit()` or `resume()`"
    )
