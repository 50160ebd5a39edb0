"""Traversal of nested specs, with their paths. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import singledispatch

from sslkit.specs.base import Spec


def walk(spec: object, path: str = "") -> Iterator[tuple[str, Spec]]:
    """Every spec inside `spec`, itself included, with its dotted path."""
    if isinstance(spec, Spec):
        yield path, spec
    for key, value in children(spec):
        yield from walk(value, f"{path}.{key}" if path else str(key))


@singledispatch
def children(value: object) -> Iterable[tuple[object, object]]:
    """(key, part) of everything right inside a spec, a mapping or a list; anything else has nothing inside."""
    return ()


@children.register(Spec)
def _(value: Spec) -> Iterable[tuple[object, object]]:
    return ((name, getattr(value, name)) for name in type(value).model_fields)


@children.register(Mapping)
def _(value: Mapping[object, object]) -> Iterable[tuple[object, object]]:
    return value.items()


@children.register(tuple)
@children.register(list)
def _(value: Sequence[object]) -> Iterable[tuple[object, object]]:
    return enumerate(value)


@singledispatch
def part(value: object, key: str) -> object:
    """What `key`, a word of a dotted path, leads to inside `value`; None where it leads nowhere."""
    return None


@part.register(Spec)
def _(value: Spec, key: str) -> object:
    return getattr(value, key, None)


@part.register(Mapping)
def _(value: Mapping[str, object], key: str) -> object:
    return value.get(key)


@part.register(tuple)
@part.register(list)
def _(value: Sequence[object], key: str) -> object:
    return value[int(key)] if int(key) < len(value) else None
