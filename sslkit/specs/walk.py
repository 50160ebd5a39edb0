"""Traversal of nested specs, with their paths. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from sslkit.specs.base import Spec


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
