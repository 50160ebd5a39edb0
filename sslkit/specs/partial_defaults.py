"""Defaults of nested specs that differ from those of their class."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BeforeValidator

from sslkit.specs.base import Spec


def completed_by(default: Spec) -> BeforeValidator:
    """Annotation of a field: what its value leaves out is as in `default`, not as in the class of the value.

    So that `projector: {hidden: 512}` changes the width of a method's head and nothing else. The same holds for
    instances, whose fields that were not set count as left out: YAML and Python stay the same object.
    """
    defaults = _fields_set(default)

    def complete(value: object) -> object:
        if isinstance(value, type(default)):
            return {**defaults, **_fields_set(value)}
        return {**defaults, **value} if isinstance(value, Mapping) else value

    return BeforeValidator(complete)


def _fields_set(spec: Spec) -> dict[str, object]:
    return {name: getattr(spec, name) for name in sorted(spec.model_fields_set)}
