"""Protocol names, with the settings that differ from the protocol's own."""

from __future__ import annotations

from collections.abc import Iterable

from sslkit.specs.families import EvaluatorSpec


def protocol(spec: EvaluatorSpec, name: str, fields: Iterable[str]) -> str:
    """`name`, followed by those of the `fields` that differ from the protocol's own values.

    `fields` are those that change what is measured; others, such as which library computes it, are left out.
    """
    defaults = type(spec).model_fields
    values = {field: getattr(spec, field) for field in fields}
    changed = [f"{field}={value}" for field, value in values.items() if value != defaults[field].default]
    return f"{name}({', '.join(changed)})" if changed else name


def own_fields(cls: type[EvaluatorSpec], *without: str) -> list[str]:
    """The fields that a kind adds to those of every evaluator, but `without`."""
    common = {"kind", *EvaluatorSpec.model_fields, *without}
    return [name for name in cls.model_fields if name not in common]
