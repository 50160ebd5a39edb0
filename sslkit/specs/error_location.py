"""Resolves locations of pydantic's errors: the path that a person wrote, and what the spec expects there.

A location of pydantic holds more than the path: the kind of each slot, and the label of each branch of a plain
union. Following the annotations from the root tells these from the keys and indices in the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sslkit import catalog
from sslkit.specs.slots import Slot, by_kind


class Place(NamedTuple):
    """What stands at a location."""

    path: tuple[str, ...]
    """Keys and indices as they are written in YAML."""
    annotation: object
    """What the spec expects there; None where it expects nothing."""
    owner: type[BaseModel] | None
    """The spec class whose field was passed last."""
    field: FieldInfo | None
    """The field that was passed last."""
    union: tuple[str, ...] | None = None
    """Path of the last plain union on the way, such as `float | Ramp`."""
    branch: object = None
    """The member of that union on the way."""


def locate(loc: Sequence[int | str], root: type[BaseModel]) -> Place:
    """The place of `loc` below a spec of class `root`."""
    place = Place((), root, None, None)
    for element in loc:
        if element != "[key]":  # pydantic's mark of an error in a key; the key itself stands before it
            place = _step(place, element)
    return place


def annotation_of(info: FieldInfo | None) -> object:
    """The annotation of a field as it was written: pydantic takes the outermost `Annotated` apart."""
    if info is None:
        return None
    return Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation


def options(annotation: object) -> list[object]:
    """The members of a union without None, or `annotation` itself; a slot counts as one."""
    origin = get_origin(annotation)
    if origin is Annotated and _family(annotation) is None:
        return options(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [o for member in get_args(annotation) if member is not NoneType for o in options(member)]
    return [annotation]


def slot_family(annotation: object) -> str | None:
    """Family of the slot that `annotation` is; None if it is no slot."""
    members = options(annotation)
    return _family(members[0]) if len(members) == 1 else None


def spec_class(annotation: object) -> type[BaseModel] | None:
    """The spec class that `annotation` is, or that is one of its options; None if there is none."""
    return next((o for o in options(annotation) if isinstance(o, type) and issubclass(o, BaseModel)), None)


def choices(annotation: object) -> list[str]:
    """The values that a `Literal` allows."""
    return [str(value) for option in options(annotation) for value in get_args(option)]


def _step(place: Place, element: int | str) -> Place:
    members = options(place.annotation)
    if len(members) > 1:
        branch = _branch(members, str(element))
        return place._replace(annotation=branch, union=place.path, branch=branch)
    family = _family(members[0])
    if family is not None:
        return place._replace(annotation=catalog.kinds(family).get(str(element)))
    return _enter(place, members[0], element)


def _enter(place: Place, annotation: object, element: int | str) -> Place:
    """Follow a key or an index that stands in the file."""
    path = (*place.path, str(element))
    cls = spec_class(annotation)
    if cls is not None:
        info = cls.model_fields.get(str(element))
        return place._replace(path=path, annotation=annotation_of(info), owner=cls, field=info)
    arguments = get_args(annotation)
    origin = get_origin(annotation)
    inside = None
    if isinstance(origin, type) and issubclass(origin, Mapping) and len(arguments) == 2:
        inside = arguments[1]
    elif origin is tuple and isinstance(element, int):
        inside = arguments[0] if arguments[-1] is Ellipsis else (*arguments, *[None] * (element + 1))[element]
    elif arguments and isinstance(element, int):
        inside = arguments[0]
    return place._replace(path=path, annotation=inside)


def _family(annotation: object) -> str | None:
    """Family of `Annotated[SomeSpec, Slot()]`."""
    if get_origin(annotation) is not Annotated:
        return None
    inner, *metadata = get_args(annotation)
    return str(getattr(inner, "family", "")) if any(isinstance(m, Slot) for m in metadata) else None


def _branch(members: Sequence[object], label: str) -> object:
    """The union member that pydantic labels `label`: a class by its name, a slot by that of its validator."""
    if by_kind.__name__ in label:
        return next((m for m in members if _family(m) is not None), None)
    return next((m for m in members if getattr(m, "__name__", "\0") in label), members[0])
