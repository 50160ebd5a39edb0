"""A number inside a masker's spec: the values that it takes in turn, and the spec with each of them. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from pydantic import ValidationError

from sslkit.errors import SpecError
from sslkit.spec.base import Spec
from sslkit.spec.explain import spec_error, suggest
from sslkit.spec.families import MaskerSpec
from sslkit.spec.locate import annotation_of, options


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
        owner, key = value, _key(value, word)
        value = getattr(owner, word) if isinstance(owner, Spec) else _item(owner, key)
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


def _key(owner: object, word: str) -> str | int:
    """`word` as a key of `owner`. Raises SpecError where it is none."""
    if isinstance(owner, Spec):
        fields = type(owner).model_fields
        if word not in fields:
            raise SpecError(f"{word!r} is not a field of {type(owner).__name__}. {suggest(word, fields)}")
        return word
    if isinstance(owner, tuple) and word.isdecimal() and int(word[:9]) < len(owner):
        return int(word)
    if isinstance(owner, Mapping) and word in owner:
        return word
    size = f"a list of {len(owner)}, counted from 0" if isinstance(owner, tuple) else repr(owner)
    raise SpecError(f"{word!r} leads into {size}, which has no such part; name a field that is set")


def _item(owner: Any, key: str | int) -> object:  # noqa: ANN401
    return owner[key]


def _changed(data: Any, keys: tuple[str | int, ...], value: float) -> Any:  # noqa: ANN401
    """`data` with `value` at `keys`, which it has."""
    if not keys:
        return value
    key, rest = keys[0], keys[1:]
    if isinstance(data, Mapping):
        return {**data, key: _changed(data[key], rest, value)}
    assert isinstance(key, int), "only lists are left"
    return [*data[:key], _changed(data[key], rest, value), *data[key + 1 :]]
