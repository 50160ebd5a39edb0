"""Slots: fields that take any registered spec of a family, as a tagged union. Torch-free."""

from __future__ import annotations

from contextvars import ContextVar
from typing import ClassVar, Protocol, final

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from sslkit import catalog

NO_KINDS = "no_kinds"
"""Type of pydantic's error for a slot of a family that no plugin serves."""


class _Family(Protocol):
    """The abstract spec of a family."""

    family: ClassVar[str]


@final
class Slot:
    """Annotation of a field that takes any registered spec of the annotated family."""

    def __get_pydantic_core_schema__(
        self, source: type[_Family], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Build the tagged union of the kinds that are registered now."""
        if _slots_are_open.get():
            return core_schema.any_schema()
        kinds = catalog.kinds(source.family)
        if not kinds:
            return core_schema.no_info_plain_validator_function(lambda _: _no_kinds(source.family))
        choices = {kind: handler.generate_schema(cls) for kind, cls in sorted(kinds.items())}
        return core_schema.tagged_union_schema(choices, discriminator="kind")

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The kinds' union; nothing is valid where there is no kind."""
        return {"not": {}} if schema["type"] == "function-plain" else handler(schema)


_slots_are_open: ContextVar[bool] = ContextVar("slots_are_open", default=False)
"""Whether slots take anything, so that a class can be built without those of other kinds."""


def require_buildable(cls: type[BaseModel]) -> None:
    """Raise what pydantic says of fields of `cls` that it cannot build.

    Every spec with a slot of its family would raise the same. Slots inside `cls` stay out of it: their kinds may not be
    registered yet.
    """
    token = _slots_are_open.set(True)
    try:
        TypeAdapter(cls).rebuild(force=True, raise_errors=True, _parent_namespace_depth=0)
    finally:
        _slots_are_open.reset(token)


def _no_kinds(family: str) -> None:
    raise PydanticCustomError(NO_KINDS, "no plugin offers any kind of {family}", {"family": family})
