"""Descriptions of spec classes, from annotations and docstrings. Torch-free."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from functools import singledispatch
from types import NoneType
from typing import Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sslkit import catalog
from sslkit.registry.manager import registry
from sslkit.specs.base import Spec
from sslkit.specs.docstrings import description
from sslkit.specs.error_location import annotation_of, options, slot_family, spec_class
from sslkit.specs.schema import component, require_family

_WORDS: Mapping[object, str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    NoneType: "nothing",
}


def describe_family(family: str) -> Iterator[str]:
    """What `family` is, and its kinds with a line each.

    Raises:
        SpecError: there is no such family.
    """
    yield f"{family}: {first_line(require_family(family))}"
    kinds = catalog.kinds(family)
    width = max(map(len, kinds), default=0)
    for kind, cls in sorted(kinds.items()):
        yield f"  {kind:<{width}}  {first_line(cls)}"
    yield from (f"  {message}" for message in registry().clashes(family).values())
    yield (
        f"\nsslkit plugins show {family}/KIND shows the fields of one."
        if kinds
        else "  No plugin offers a kind."
    )


def describe_kind(family: str, kind: str) -> Iterator[str]:
    """A kind: who offers it, what it is, and its fields with types, defaults and descriptions.

    Raises:
        SpecError: there is no such family or kind.
    """
    cls = component(family, kind)
    yield f"{family}/{kind}, class {cls.__name__} of {_owner(family, kind)}"
    yield from ("", *(inspect.getdoc(cls) or "").splitlines(), "")
    fields = list(_fields(cls))
    for name, text, described in fields:
        yield f"{name}: {text}"
        yield from textwrap.wrap(
            " ".join(described.split()), 96, initial_indent="    ", subsequent_indent="    "
        )
    if not fields:
        yield "It has no fields."


def first_line(cls: type) -> str:
    """The first line of the docstring of `cls`."""
    return (inspect.getdoc(cls) or "").partition("\n")[0]


def type_words(annotation: object) -> str:
    """`annotation` as a person would say it: `number or Ramp`, `list of augment`."""
    return " or ".join(dict.fromkeys(map(_word, options(annotation))))


def _owner(family: str, kind: str) -> str:
    plugin = next(p for p in registry().plugins if (family, kind) in p.kinds)
    return f"{plugin.name} {plugin.version}"


def _fields(cls: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """(dotted name, type and default, description) of `cls`, with those of plain specs inside it."""
    for name, info in cls.model_fields.items():
        if name == "kind":
            continue
        annotation = annotation_of(info)
        yield prefix + name, type_words(annotation) + _bounds(info) + _default(info), description(cls, name)
        inner = spec_class(annotation)
        if inner is not None and len(options(annotation)) == 1 and slot_family(annotation) is None:
            yield from _fields(inner, f"{prefix}{name}.")


def _word(annotation: object) -> str:
    family = slot_family(annotation)
    if family is not None:
        return family
    arguments, origin = get_args(annotation), get_origin(annotation)
    if origin is None:
        return _WORDS.get(annotation, getattr(annotation, "__name__", str(annotation)).lower())
    if origin is tuple and arguments[-1] is not Ellipsis:
        return f"list of {len(arguments)}: {', '.join(map(type_words, arguments))}"
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if issubclass(origin, Mapping):
        return f"mapping of names to {type_words(arguments[1])}"
    return f"list of {type_words(arguments[0])}"


def _bounds(info: FieldInfo) -> str:
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    bounds = [f"{s} {getattr(m, k)}" for m in info.metadata for k, s in signs.items() if hasattr(m, k)]
    return f" {', '.join(bounds)}" if bounds else ""


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return " (required)"
    default = info.get_default(call_default_factory=True)
    text = in_flow_style(default)
    return "" if default is None or text in {"{}", "[]"} else f" = {text}"


@singledispatch
def in_flow_style(value: object) -> str:
    """A default as YAML's flow style would write it."""
    return str(value)


@in_flow_style.register(bool)
def _(value: bool) -> str:
    return str(value).lower()


@in_flow_style.register(Spec)
def _(value: Spec) -> str:
    return in_flow_style({name: getattr(value, name) for name in sorted(value.model_fields_set)})


@in_flow_style.register(Mapping)
def _(value: Mapping[str, object]) -> str:
    return "{" + ", ".join(f"{key}: {in_flow_style(item)}" for key, item in value.items()) + "}"


@in_flow_style.register(tuple)
@in_flow_style.register(list)
def _(value: Sequence[object]) -> str:
    return f"[{', '.join(map(in_flow_style, value))}]"
