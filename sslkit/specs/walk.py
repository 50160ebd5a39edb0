"""Traversal of nested specs, with their paths. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from sslkit.specs.base import Spec
from sslkit.specs.families import ObjectiveSpec

if TYPE_CHECKING:
    from sslkit.specs.run import RunSpec


def scoped(run: RunSpec) -> Iterator[tuple[str, Spec, RunSpec]]:
    """Every spec with the run as it sees it: inside a hybrid, whose terms and balance are then the run's."""
    scopes = {"": run}
    for path, spec in walk(run):
        around = max((p for p in scopes if path.startswith(p)), key=len)
        yield path, spec, scopes[around]
        members = spec.combined() if isinstance(spec, ObjectiveSpec) else None
        if members is not None:
            inside = {"objective": None, "objectives": members.objectives, "balance": members.balance}
            scopes[f"{path}."] = scopes[around].model_copy(update=inside)


def walk(spec: object, path: str = "") -> Iterator[tuple[str, Spec]]:
    """Every spec inside `spec`, itself included, with its dotted path."""
    if isinstance(spec, Spec):
        yield path, spec
    for key, value in children(spec):
        yield from walk(value, f"{path}.{key}" if path else str(key))


def children(value: object) -> Iterable[tuple[object, object]]:
    """(key, part) of everything right inside a spec, a mapping or a list; anything else has nothing inside."""
    match value:
        case Spec():
            return ((name, getattr(value, name)) for name in type(value).model_fields)
        case Mapping():
            return value.items()
        case tuple() | list():
            return enumerate(value)
    return ()
