"""Objects of Python that a spec holds, as a dataset or a module. Torch-free.

A file tells of one by its type and a digest alone. Read where that very object is held, the spec has it again; read
anywhere else, the spec is whole but for the object, and says so where the object is needed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, final
from weakref import WeakValueDictionary

from pydantic import BeforeValidator, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from sslkit.core.problem import Problem
from sslkit.errors import SpecError
from sslkit.specs.walk import children

if TYPE_CHECKING:
    from sslkit.specs.base import Spec

TYPE = "python"
"""Key of an object's type in what a file tells of it."""
About = Mapping[str, str | int]
"""What a file tells of an object: `python`, its type, and whatever tells it from others."""
ADVICE = "go on in Python: make the same objects, put them into the same `Run(...)`, and call its `fit()` or `resume()`"


@final
class Held:
    """An object and what a file tells of it; equal where that is. Without the object where only a file told of it."""

    def __init__(self, value: object, about: About) -> None:
        """`about` has the key `python`. What holds an object is recalled wherever a file tells of it."""
        self.value, self.about = value, dict(about)
        if value is not None:
            _held[self.key] = self

    @property
    def key(self) -> str:
        """`about` as text."""
        return json.dumps(self.about, sort_keys=True)

    @property
    def title(self) -> str:
        """The type and what is told of it, for people."""
        rest = ", ".join(
            f"{name} {value}" for name, value in self.about.items() if name not in (TYPE, "digest")
        )
        return f"{self.about[TYPE]} ({rest})" if rest else str(self.about[TYPE])

    @property
    def missing(self) -> str:
        """Why it cannot be used, and what to do; empty where the object is there."""
        if self.value is not None:
            return ""
        return f"is an object of Python, {self.title}, which no file holds; {ADVICE}"

    def get(self, path: str) -> object:
        """The object. Raises SpecError where it is not there; `path` is that of the field."""
        if self.value is None:
            raise SpecError(f"{path}: {self.missing}")
        return self.value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Held) and self.about == other.about

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"<{self.title}>"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Take one, or what a file tells of one."""
        return core_schema.no_info_plain_validator_function(
            _recalled, serialization=core_schema.plain_serializer_function_ser_schema(lambda held: held.about)
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """What a file tells of one."""
        values = {"anyOf": [{"type": "string"}, {"type": "integer"}]}
        return {"type": "object", "format": "python", "required": [TYPE], "additionalProperties": values}


_held: WeakValueDictionary[str, Held] = WeakValueDictionary()
"""What this process holds; an object is let go with the last spec that has it."""


def holding(describe: Callable[[object], About]) -> BeforeValidator:
    """Annotation of a field `Held`: it takes any object of which `describe` tells `python` and what else there is.

    `describe` raises SpecError for an object that will not do.
    """

    def hold(value: object) -> object:
        if value is None or isinstance(value, Held | str | int | float) or _is_told(value):
            return value
        try:
            return Held(value, describe(value))
        except SpecError as error:
            raise ValueError(str(error)) from None

    return BeforeValidator(hold)


def objects_in(spec: Spec) -> Iterator[tuple[str, Held]]:
    """(dotted path, object) of each that `spec` holds or was told of."""
    yield from _inside(spec, "")


def missing_objects(spec: Spec) -> Iterator[Problem]:
    """The fields right inside `spec` whose object is not there."""
    for field, value in children(spec):
        if isinstance(value, Held) and value.missing:
            yield Problem(str(field), value.missing)


def _inside(value: object, path: str) -> Iterator[tuple[str, Held]]:
    if isinstance(value, Held):
        yield path, value
    for key, part in children(value):
        yield from _inside(part, f"{path}.{key}" if path else str(key))


def _is_told(value: object) -> bool:
    """Whether a file may say this of an object."""
    return isinstance(value, Mapping) and TYPE in value


def _recalled(value: object) -> Held:
    if isinstance(value, Held):
        return value
    if not (isinstance(value, Mapping) and TYPE in value):
        raise PydanticCustomError("python_object", "is an object of Python, which only Python can give")
    about: dict[str, str | int] = {
        str(name): part for name, part in value.items() if isinstance(part, str | int)
    }
    alone = Held(None, about)
    return _held.get(alone.key, alone)
