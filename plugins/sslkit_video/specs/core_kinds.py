"""Kinds of the core that kinds of this package are short for. Torch-free."""

from __future__ import annotations

from pydantic import TypeAdapter

from sslkit.plugin import ObjectiveField, ObjectiveSpec


def core_objective(kind: str, **fields: object) -> ObjectiveSpec:
    """The objective `kind` with `fields`, of whatever plugin offers it. Raises SpecError where none does."""
    spec: ObjectiveSpec = TypeAdapter(ObjectiveField).validate_python({"kind": kind, **fields})
    return spec
