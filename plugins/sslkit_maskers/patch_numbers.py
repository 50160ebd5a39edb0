"""Curriculum levels: values of a numeric field of a masker's spec. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import singledispatch
from typing import Any, NamedTuple

from pydantic import ValidationError

from sslkit.plugin import MaskerSpec, Spec, SpecError, annotation_of, options, spec_error, suggest


class Number(NamedTuple):
    """Where a number stands in a spec."""

    keys: tuple[str | int, ...]
    """Fields, names and indices from the spec to it."""
    whole: bool


def find_number(masker: MaskerSpec, path: str) -> Number:
    """The number at the dotted `path` of `masker`. Raises SpecError where there is none."""
    step = _Step("", masker, ())
    keys: list[str | int] = []
    for word in path.split("."):
        step = _step(step.value, word)
        keys.append(step.key)
    if not {int, float}.intersection(step.types):
        raise SpecError(f"{path!r} is no number of {masker.kind_name()!r}; name a field that is one")
    return Number(tuple(keys), float not in step.types)


def spread(start: float, end: float, count: int, whole: bool) -> list[float]:
    """`count` values at equal distances, as exact as a person would write them; whole ones rounded."""
    first, last = Fraction(repr(start)), Fraction(repr(end))
    inner = [first + (last - first) * i / (count - 1) for i in range(1, count - 1)]
    return [start, *(round(value) if whole else float(value) for value in inner), end]


def replaced(masker: MaskerSpec, keys: tuple[str | int, ...], value: float) -> MaskerSpec:
    """`masker` with `value` at `keys`, which it has. Raises SpecError where its spec does not allow that value."""
    data = masker.model_dump(mode="json")
    owner: Any = data
    for key in keys[:-1]:
        owner = owner[key]
    owner[keys[-1]] = value
    try:
        return type(masker).model_validate(data)
    except ValidationError as error:
        raise spec_error(error, type(masker)) from None


class _Step(NamedTuple):
    key: str | int
    value: object
    """What is there."""
    types: Sequence[object]
    """What may be there."""


@singledispatch
def _step(owner: object, word: str) -> _Step:
    """From `owner` to its part `word`. Raises SpecError where it has none."""
    raise _nowhere(word, repr(owner))


@_step.register(Spec)
def _(owner: Spec, word: str) -> _Step:
    fields = type(owner).model_fields
    if word not in fields:
        raise SpecError(f"{word!r} is not a field of {type(owner).__name__}. {suggest(word, fields)}")
    return _Step(word, getattr(owner, word), options(annotation_of(fields[word])))


@_step.register(tuple)
def _(owner: tuple[object, ...], word: str) -> _Step:
    if not word.isdecimal() or int(word[:9]) >= len(owner):
        raise _nowhere(word, f"a list of {len(owner)}, counted from 0")
    value = owner[int(word)]
    return _Step(int(word), value, [type(value)])


@_step.register(Mapping)
def _(owner: Mapping[str, object], word: str) -> _Step:
    if word not in owner:
        raise _nowhere(word, repr(owner))
    return _Step(word, owner[word], [type(owner[word])])


def _nowhere(word: str, owner: str) -> SpecError:
    return SpecError(f"{word!r} leads into {owner}, which has no such part; name a field that is set")
