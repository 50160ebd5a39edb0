"""Defaults of a spec inside a spec, where they are not those of its class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BeforeValidator

from sslkit.spec.base import Spec


def completed_by(default: Spec) -> BeforeValidator:
    """Annotation of a field: what its value leaves out is as in `default`, not as in the class of the value.

    So that `projector: {hidden: 512}` changes the width of a method's head and nothing else. The same holds for
    instances, whose fields that were not set count as left out: YAML and Python stay the same object.
    """
    own = _given(default)

    def complete(value: Any) -> Any:  # noqa: ANN401
        if isinstance(value, type(default)):
            return {**own, **_given(value)}
        return {**own, **value} if isinstance(value, Mapping) else value

    return BeforeValidator(complete)


def _given(spec: Spec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in sorted(spec.model_fields_set)}
