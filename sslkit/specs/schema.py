"""JSON schema of specs, for editors and other tools."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaValue

from sslkit import catalog
from sslkit.errors import SpecError
from sslkit.specs.base import Spec
from sslkit.specs.error_text import suggest
from sslkit.specs.families import FAMILIES
from sslkit.specs.run import RunSpec
from sslkit.specs.slots import Slot

_DIALECT = {"$schema": "https://json-schema.org/draft/2020-12/schema"}


def json_schema(spec: type[Spec] = RunSpec) -> JsonSchemaValue:
    """The JSON schema (draft 2020-12) of `spec`, with every registered kind."""
    schema = spec.model_json_schema()
    # the schema of a spec that may hold its own kind, as a mixture of maskers, is a reference to its definition
    whole = schema["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else {}
    return _DIALECT | whole | {key: value for key, value in schema.items() if key != "$ref"}


def component_schema(family: str, kind: str | None = None) -> JsonSchemaValue:
    """The JSON schema of one kind of `family`, or of all of them.

    Raises:
        SpecError: there is no such family or kind.
    """
    if kind is not None:
        return json_schema(component(family, kind))
    slot: Any = Annotated[require_family(family), Slot()]
    return _DIALECT | TypeAdapter(slot).json_schema()


def component(family: str, kind: str) -> type[Spec]:
    """The spec class of one kind.

    Raises:
        SpecError: there is no such family or kind.
    """
    kinds = catalog.kinds(require_family(family).family)
    if kind not in kinds:
        unknown = f"{kind!r} is not a kind of {family}. {suggest(kind, kinds)}"
        raise SpecError(catalog.missing(family, kind, unknown))
    return kinds[kind]


def require_family(family: str) -> type[Spec]:
    """The abstract spec of `family`.

    Raises:
        SpecError: there is no such family.
    """
    if family not in FAMILIES:
        raise SpecError(f"{family!r} is not a family. {suggest(family, FAMILIES)}")
    return FAMILIES[family]
