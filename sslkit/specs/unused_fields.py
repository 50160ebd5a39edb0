"""Detects fields that were set and have no effect in a run. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from sslkit.core.problem import Problem
from sslkit.specs.base import Spec
from sslkit.specs.scopes import scoped
from sslkit.specs.walk import part

if TYPE_CHECKING:
    from sslkit.specs.run import RunSpec


def unused(run: RunSpec) -> Iterator[Problem]:
    """Every field of the specs in `run` that was set and has no effect there, with its path from the root."""
    for path, spec, scope in scoped(run):
        fields = (p._replace(path=".".join(filter(None, (path, p.path)))) for p in spec.unused(scope))
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
        value = part(value, key)
        default = _built(default, value)
    return bool(value != default)


def _default(value: object, default: object, key: str) -> object:
    """The default of the part `key` of `value`, whose own default is `default`."""
    if isinstance(value, Spec) and not isinstance(default, type(value)):
        return type(value).model_fields[key].get_default(call_default_factory=True)
    return part(default, key)


def _built(default: object, value: object) -> object:
    """Slots state their defaults as mappings, which become the spec that they stand for."""
    if isinstance(default, Mapping) and "kind" in default and default["kind"] == part(value, "kind"):
        return type(value)(**default)
    return default
