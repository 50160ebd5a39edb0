"""Base of all specs: frozen pydantic models. Torch-free.

A *family* is what a slot accepts (masker, target, ...); a *kind* is one implementation of it. `kind` tells
the members of a family apart in YAML, and each family is a tagged union of whatever the plugins registered.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator, Mapping, Sequence
from functools import singledispatch
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from sslkit.core.problem import Problem
from sslkit.specs.docstrings import descriptions
from sslkit.specs.error_text import spec_error

if TYPE_CHECKING:
    from sslkit.specs.run import RunSpec

Count = Annotated[int, Field(ge=1, lt=2**31)]
"""A whole number above 0. Bounded, so that arithmetic with it cannot overflow."""


class Spec(BaseModel, ABC):
    """Base of every spec: frozen, hashable, no unknown keys; the strings below fields describe them."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        defer_build=True,  # the unions are built at first use, after the plugins are loaded
        validate_default=True,
        allow_inf_nan=False,
    )
    family: ClassVar[str] = ""
    unchecked: ClassVar[str] = ""
    """Why `example` gives None, such as files that only a user has. The conformance kit asks for it."""
    expected_failures: ClassVar[Mapping[str, str]] = {}
    """Name of a check of the conformance kit that this kind fails -> why. One that passes is then a failure."""

    def __init__(self, /, **fields: object) -> None:
        """Check `fields`; raises SpecError, naming each that is wrong."""
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise spec_error(error, type(self), prefix=type(self).__name__) from None

    # pydantic then builds nested specs itself, so that their errors keep the path from the root.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: object) -> None:
        """Let slots with a default take fields alone. What `slot_default` could add, pydantic puts below `Slot`."""
        for field in cls.model_fields.values():
            if isinstance(field.default, Mapping) and "kind" in field.default:
                field.metadata.append(_completed(field.default))

    def model_post_init(self, context: object, /) -> None:
        """Count `kind` as set: YAML of what was set must name it."""
        if "kind" in type(self).model_fields:
            self.model_fields_set.add("kind")

    def __hash__(self) -> int:
        """Equal specs have equal hashes, mappings inside them included."""
        return hash((type(self), _hashable(tuple(self.__dict__.values()))))

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Describe the fields, and make `kind` required: pydantic leaves out what has a default in Python."""
        described = handler.resolve_ref_schema(handler(schema))
        properties = described.get("properties", {})
        for name, text in descriptions(cls).items():
            if text and name in properties:
                properties[name].setdefault("description", text)
        if cls.family and "kind" in properties:
            described["required"] = ["kind", *(n for n in described.get("required", []) if n != "kind")]
        return described

    @classmethod
    def kind_name(cls) -> str:
        """The value of `kind` that selects this class."""
        return str(cls.model_fields["kind"].default)

    @classmethod
    def example(cls) -> Self | None:
        """A small instance for `sslkit plugins check` to build and run; torch-free, and it writes no files.

        Override it where fields are required or where the defaults make something large. None says that it
        cannot run without what only a user has, such as files; `unchecked` then says what.
        """
        return cls()

    @property
    def min_batch(self) -> int:
        """Fewest images of a step, over all ranks and micro-batches, that it can work with."""
        return 1

    @property
    def min_rank_batch(self) -> int:
        """The same on each rank alone, for what does not compare the images of a rank with those of others."""
        return 1

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """Yield what is wrong with this spec inside `run`, without importing torch.

        Called for every spec whose references (`ViewName`, `NetName`, `AverageName`) are to what the run has.
        """
        return iter(())

    def unused(self, run: RunSpec) -> Iterator[Problem]:
        """Yield the fields that have no effect inside `run`, with the reason, without importing torch.

        Yield them whatever their values: only those whose value differs from their default count, as somebody set it
        and expects it to do something. They are refused, or with `note` reported in one line.
        """
        return iter(())

    def summary(self) -> str:
        """One line for people: the kind and the fields that were set."""
        fields = [f"{k}={_text(getattr(self, k))}" for k in sorted(self.model_fields_set - {"kind"})]
        name = self.kind_name() if "kind" in type(self).model_fields else type(self).__name__
        return f"{name}({', '.join(fields)})" if fields else name


@singledispatch
def _text(value: object) -> str:
    return str(value)


@_text.register(Spec)
def _(value: Spec) -> str:
    return value.summary()


@_text.register(Mapping)
def _(value: Mapping[object, object]) -> str:
    return "{" + ", ".join(f"{key}: {_text(item)}" for key, item in value.items()) + "}"


@_text.register(tuple)
@_text.register(list)
def _(value: Sequence[object]) -> str:
    return f"[{', '.join(map(_text, value))}]"


@singledispatch
def _hashable(value: object) -> object:
    return value


@_hashable.register(Mapping)
def _(value: Mapping[object, object]) -> object:
    return frozenset((key, _hashable(item)) for key, item in value.items())


@_hashable.register(tuple)
@_hashable.register(list)
def _(value: Sequence[object]) -> object:
    return tuple(map(_hashable, value))


def slot_default(kind: str, **fields: object) -> Any:  # noqa: ANN401
    """Default of a slot by kind, so that a plugin need not import the plugin that offers it.

    A mapping without `kind` changes the default's fields: `masker: {ratio: 0.5}`.
    """
    return Field(default={"kind": kind, **fields}, validate_default=True)


def _completed(default: Mapping[str, object]) -> BeforeValidator:
    """Of the slot with this default."""

    def complete(value: object) -> object:
        return {**default, **value} if isinstance(value, Mapping) and "kind" not in value else value

    return BeforeValidator(complete)
