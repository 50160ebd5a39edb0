"""Curriculum levels: values of a numeric field of a masker's spec. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from pydantic import ValidationError

from sslkit.plugin import MaskerSpec, Spec, SpecError, annotation_of, options, spec_error, suggest


class Number(NamedTuple):
    """Where a number stands in a spec."""

    keys: tuple[str | int, ...]
    """Fields, names and indices from the spec to it."""
    whole: bool


def find_number(masker: MaskerSpec, path: str) -> Number:
    """The number at the dotted `path` of `masker`. Raises SpecError where there is none."""
    owner: object = None
    value: object = masker
    keys: list[str | int] = []
    for word in path.split("."):
        owner = value
        key, value = _step(owner, word)
        keys.append(key)
    types = (
        options(annotation_of(type(owner).model_fields[word])) if isinstance(owner, Spec) else [type(value)]
    )
    if not {int, float}.intersection(types):
        raise SpecError(f"{path!r} is no number of {masker.kind_name()!r}; name a field that is one")
    return Number(tuple(keys), float not in types)


def spread(start: float, end: float, count: int, whole: bool) -> list[float]:
    """`count` values at equal distances, as exact as a person would write them; whole ones rounded."""
    first, last = Fraction(repr(start)), Fraction(repr(end))
    inner = [first + (last - first) * i / (count - 1) for i in range(1, count - 1)]
    return [start, *(round(value) if whole else float(value) for value in inner), end]


def replaced(masker: MaskerSpec, keys: tuple[str | int, ...], value: float) -> MaskerSpec:
    """`masker` with `value` at `keys`. Raises SpecError where its spec does not allow that value."""
    data = _changed(masker.model_dump(), keys, value)
    try:
        return type(masker).model_validate(data)
    except ValidationError as error:
        raise spec_error(error, type(masker)) from None


def _step(owner: object, word: str) -> tuple[str | int, object]:
    """`word` as a key of `owner`, and what is there. Raises SpecError where it is no key."""
    if isinstance(owner, Spec):
        fields = type(owner).model_fields
        if word not in fields:
            raise SpecError(f"{word!r} is not a field of {type(owner).__name__}. {suggest(word, fields)}")
        return word, getattr(owner, word)
    if isinstance(owner, tuple) and word.isdecimal() and int(word[:9]) < len(owner):
        return int(word), owner[int(word)]
    if isinstance(owner, Mapping) and word in owner:
        return word, owner[word]
    size = f"a list of {len(owner)}, counted from 0" if isinstance(owner, tuple) else repr(owner)
    raise SpecError(f"{word!r} leads into {size}, which has no such part; name a field that is set")


def _changed(data: object, keys: tuple[str | int, ...], value: float) -> object:
    """`data` with `value` at `keys`, which it has."""
    if not keys:
        return value
    key, rest = keys[0], keys[1:]
    if isinstance(data, Mapping):
        return {**data, key: _changed(data[key], rest, value)}
    assert isinstance(data, Sequence), "only lists are left"
    assert isinstance(key, int), "lists have numbers as keys"
    return [*data[:key], _changed(data[key], rest, value), *data[key + 1 :]]
