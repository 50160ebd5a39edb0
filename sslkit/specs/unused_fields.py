"""Detects fields that were set and have no effect in a run. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from sslkit.core.problem import Problem
from sslkit.specs.base import Spec
from sslkit.specs.scopes import scoped

if TYPE_CHECKING:
    from sslkit.specs.run import RunSpec


def unused(run: RunSpec) -> Iterator[Problem]:
    """Every field of the specs in `run` that was set and has no effect there, with its path from the root."""
    for path, spec, scope in scoped(run):
        fields = (p._replace(path=f"{path}.{p.path}" if path else p.path) for p in spec.unused(scope))
        yield from only_changed(run, fields)


def only_changed(run: RunSpec, fields: Iterable[Problem]) -> Iterator[Problem]:
    """Those of `fields`, by their paths from the root, whose value is not their default.

    Values are compared, and not what was set: the lock of a run sets every field.
    """
    return (problem for problem in fields if differs(run, problem.path))


def differs(run: RunSpec, path: str) -> bool:
    """Whether the value at dotted `path` differs from its default: that of the field where it stands.

    The default of `objective.projector.layers` is that of the objective's head, not that of every projection.
    """
    value: object = run
    default: object = None
    for key in path.split("."):
        default = _default(value, default, key)
        value = _child(value, key)
        default = _built(default, value)
    return bool(value != default)


def _child(value: object, key: str) -> object:
    match value:
        case Spec():
            return getattr(value, key)
        case Mapping():
            return value[key]
        case tuple() | list():
            return value[int(key)]
    raise AssertionError(f"{key}: paths go through specs, mappings and lists")


def _default(value: object, default: object, key: str) -> object:
    """The default of the part `key` of `value`, whose own default is `default`."""
    if isinstance(value, Spec):
        if isinstance(default, type(value)):
            return getattr(default, key)
        return type(value).model_fields[key].get_default(call_default_factory=True)
    if isinstance(value, Mapping):
        return default.get(key) if isinstance(default, Mapping) else None
    if isinstance(default, tuple | list) and int(key) < len(default):
        return default[int(key)]
    return None


def _built(default: object, value: object) -> object:
    """Slots state their defaults as mappings, which become the spec that they stand for."""
    if isinstance(default, Mapping) and isinstance(value, Spec) and default.get("kind") == value.kind_name():
        return type(value)(**default)
    return default
