"""Specs: frozen pydantic models that say what to run. Nothing here imports torch.

A *family* is what a slot accepts (masker, target, ...); a *kind* is one implementation of it. `kind` tells the
members of a family apart in YAML, and each family is a tagged union of whatever kinds the plugins registered.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from sslkit import catalog

if TYPE_CHECKING:
    from sslkit.spec.run import RunSpec


class Problem(NamedTuple):
    """One thing that is wrong with a spec."""

    path: str
    """Dotted path below the spec that reports it; empty for the spec itself."""
    message: str
    """What was found, what was expected and what to do."""


class Spec(BaseModel):
    """Base of every spec: unknown keys are errors, values are frozen and hashable, docstrings describe fields."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        defer_build=True,  # the unions are built at first use, after the plugins are loaded
        use_attribute_docstrings=True,
        validate_default=True,
        allow_inf_nan=False,
    )
    family: ClassVar[str] = ""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Make `kind` required: pydantic leaves it optional because it has a default in Python."""
        made = handler.resolve_ref_schema(handler(schema))
        if cls.family and "kind" in made.get("properties", {}):
            made["required"] = ["kind", *(name for name in made.get("required", []) if name != "kind")]
        return made

    @classmethod
    def kind_name(cls) -> str:
        """The value of `kind` that selects this class."""
        return str(cls.model_fields["kind"].default)

    def problems(self, run: RunSpec) -> Iterator[Problem]:
        """Yield what is wrong with this spec inside `run`, without importing torch. Called for every spec."""
        return iter(())

    def summary(self) -> str:
        """One line for people: the kind and the fields that were set."""
        set_fields = [f"{k}={getattr(self, k)!r}" for k in sorted(self.model_fields_set - {"kind"})]
        name = self.kind_name() if "kind" in type(self).model_fields else type(self).__name__
        return f"{name}({', '.join(set_fields)})"


class Slot:
    """Annotation of a field that takes any registered spec of the annotated family."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        """Build the tagged union of the kinds that are registered now."""
        known = catalog.kinds(source.family)
        if not known:
            return core_schema.no_info_plain_validator_function(lambda _: _no_kinds(source.family))
        choices = {kind: handler.generate_schema(cls) for kind, cls in sorted(known.items())}
        return core_schema.tagged_union_schema(choices, discriminator="kind")


def _no_kinds(family: str) -> None:
    raise ValueError(f"no plugin offers a {family}")


def slot_default(kind: str, **fields: Any) -> Any:  # noqa: ANN401
    """Default of a slot by kind, so that a plugin need not import the plugin that offers it."""
    return Field(default={"kind": kind, **fields}, validate_default=True)
