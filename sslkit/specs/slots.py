"""Slots: fields that take any registered spec of a family, as a tagged union. Torch-free.

A union holds the names of its kinds; the class behind a name is imported and built when a value names it. Most
specs name a dozen of more than a hundred kinds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import ClassVar, Protocol, cast, final

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, PydanticKnownError, SchemaValidator, core_schema

from sslkit import catalog
from sslkit.errors import SpecError
from sslkit.files.typed_json import DEEPEST

NO_KINDS = "no_kinds"
"""Type of pydantic's error for a slot of a family that no plugin serves."""
_FAMILY = "sslkit_family"
"""Key of the family in the metadata of its unions."""


class _Family(Protocol):
    """The abstract spec of a family."""

    family: ClassVar[str]


@final
class Slot:
    """Annotation of a field that takes any registered spec of the annotated family."""

    def __get_pydantic_core_schema__(
        self, source: type[_Family], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Validate by the union of the names of the kinds that are registered when a value is."""
        if _slots_are_open.get():
            return core_schema.any_schema()
        return core_schema.no_info_plain_validator_function(
            partial(by_kind, source.family), metadata={_FAMILY: source.family}
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The kinds' union; nothing is valid where there is no kind."""
        while schema["type"] == "function-before":  # of a slot with a default
            schema = schema["schema"]
        if schema["type"] != "function-plain":
            return handler(schema)
        family = schema["metadata"][_FAMILY]
        with _described(family) as outside:
            whole = {kind: _whole(cls, reference=not outside) for kind, cls in _classes(family).items()}
            return (
                handler(core_schema.tagged_union_schema(whole, discriminator="kind"))
                if whole
                else {"not": {}}
            )


_slots_are_open: ContextVar[bool] = ContextVar("slots_are_open", default=False)
"""Whether slots take anything, so that a class can be built without those of other kinds."""
_outer: ContextVar[tuple[int, ...]] = ContextVar("outer", default=())
"""The values of slots, by `id`, inside which one is validated."""
_families: ContextVar[tuple[str, ...]] = ContextVar("families", default=())
"""The families inside whose union the JSON schema of one is made."""


def require_buildable(cls: type[BaseModel]) -> None:
    """Raise what pydantic says of fields of `cls` that it cannot build.

    Slots inside `cls` stay out of it: their kinds may not be registered yet.
    """
    token = _slots_are_open.set(True)
    try:
        TypeAdapter(cls).rebuild(force=True, raise_errors=True, _parent_namespace_depth=0)
    finally:
        _slots_are_open.reset(token)


_unions: dict[str, tuple[catalog.Kinds, SchemaValidator]] = {}
"""family -> its registered kinds, and their union: plugins that are loaded anew make another."""


def by_kind(family: str, value: object) -> object:
    """The spec in `value`, by its `kind`."""
    kinds = catalog.kinds(family)
    if not kinds:
        raise PydanticCustomError(NO_KINDS, "no plugin offers any kind of {family}", {"family": family})
    of, union = _unions.get(family, (None, None))
    if of is not kinds or union is None:
        choices: dict[str, CoreSchema] = {
            kind: core_schema.no_info_plain_validator_function(partial(_validated, kinds, kind))
            for kind in sorted(kinds)
        }
        union = SchemaValidator(core_schema.tagged_union_schema(choices, discriminator="kind"))
        _unions[family] = kinds, union
    return union.validate_python(value)


def _validated(kinds: catalog.Kinds, kind: str, value: object) -> BaseModel:
    """The spec in `value`; pydantic puts its errors below the path of the slot.

    Raises:
        SpecError: what it is in is nested too deep to say where.
    """
    outer = _outer.get()
    if id(value) in outer:
        raise PydanticKnownError("recursion_loop")
    if len(outer) > DEEPEST:
        raise SpecError(f"a {kind!r} stands inside more than {DEEPEST} others; write the spec flatter")
    token = _outer.set((*outer, id(value)))
    try:
        return cast(type[BaseModel], kinds[kind]).model_validate(value)
    finally:
        _outer.reset(token)


def _classes(family: str) -> dict[str, type[BaseModel]]:
    return {kind: cast(type[BaseModel], cls) for kind, cls in sorted(catalog.kinds(family).items())}


def _whole(cls: type[BaseModel], *, reference: bool) -> CoreSchema:
    """What pydantic validates `cls` by, or a reference to that."""
    cls.model_rebuild()
    schema = cls.__pydantic_core_schema__
    if not reference:
        return schema
    inner = schema["schema"] if schema["type"] == "definitions" else schema
    return core_schema.definition_reference_schema(
        inner["schema_ref"] if inner["type"] == "definition-ref" else inner["ref"]
    )


@contextmanager
def _described(family: str) -> Iterator[bool]:
    """Whether no union of `family` is around; inside, one is, so that kinds which hold their own family end."""
    outer = _families.get()
    token = _families.set((*outer, family))
    try:
        yield family not in outer
    finally:
        _families.reset(token)
