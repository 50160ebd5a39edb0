"""JSON schema of specs, for editors and other tools."""

from __future__ import annotations

from typing import Any

from sslkit.spec.base import Spec
from sslkit.spec.run import RunSpec


def json_schema(spec: type[Spec] = RunSpec) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of `spec`, with every registered kind."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **spec.model_json_schema()}
