"""JSON files with the shape that their reader expects: one type for each kind of file, checked as it is read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Generic, NamedTuple, TypeVar

from pydantic import AfterValidator, Field, PlainValidator, TypeAdapter, ValidationError

from sslkit.errors import SslkitError
from sslkit.files.regular import read_text

T = TypeVar("T")
DEEPEST = 100
"""Levels of nesting in a file; what walks its values later goes down by recursion."""
LARGEST = 10**30
"""Whole numbers up to here, and products of some of them, become a float without an error."""
_WORDS = {
    "a valid dictionary": "a mapping",
    "a valid integer": "a whole number",
    "a valid string": "text",
    "a valid boolean": "true or false",
    "a valid tuple": "a list",
    "a valid list": "a list",
}
"""pydantic's for types -> those of JSON."""
SHOWN = 60
"""Characters of a value, or of a place, that a message shows."""

Whole = Annotated[int, Field(ge=0, lt=2**63, strict=True)]
"""A count of steps or images, or a seed."""


class JsonFile(NamedTuple, Generic[T]):
    """How one kind of file is read."""

    adapter: TypeAdapter[T]
    """The shape that its value has."""
    refuse: type[SslkitError]
    """Class of errors."""
    advice: str
    """What to do about a damaged one."""
    verdict: str = "is damaged: "
    """What stands before the reason; of files that people write nothing."""

    def read(self, path: Path) -> T:
        """What the file at `path` holds.

        Raises:
            SslkitError: of the class `refuse`, with the file, the place in it, what is expected there, and the advice.
        """
        return self.parse(read_text(path, self.refuse, self.advice), str(path))

    def parse(self, text: str | bytes, where: str) -> T:
        """What `text` holds; `where` names it in errors, which are those of `read`."""
        try:
            value = json.loads(text, object_pairs_hook=_once)
            require_shallow(value)
        except RecursionError:
            raise self._error(where, f"is nested deeper than {DEEPEST} levels") from None
        except json.JSONDecodeError as error:
            reason = f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
            raise self._error(where, reason) from None
        except ValueError as error:  # a key that is there twice, an integer of thousands of digits
            raise self._error(where, f"is not JSON that can be read: {str(error)[:200]}") from None
        return self.check(value, where)

    def check(self, value: object, where: str) -> T:
        """`value` as the type; `where` names it in errors, which are those of `read`."""
        try:
            return self.adapter.validate_python(value)
        except ValidationError as error:
            raise self._error(where, _reason(error)) from None

    def _error(self, where: str, reason: str) -> SslkitError:
        return self.refuse(f"{where}: {self.verdict}{reason}; {self.advice}")


def require_shallow(value: object) -> None:
    """Pass where lists and mappings in `value` lie no deeper than `DEEPEST`. Raises RecursionError otherwise."""
    level: list[object] = [value]
    for _ in range(DEEPEST + 1):
        level = [inside for outer in level for inside in _inside(outer)]
        if not level:
            return
    raise RecursionError


def _inside(value: object) -> Iterable[object]:
    match value:
        case dict():
            return value.values()
        case list():
            return value
    return ()


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A mapping, as JSON has it; Python would keep the last of two values of a key."""
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in value if keys.count(key) > 1)
        raise ValueError(f"key {_cut(repr(twice))} is there twice")
    return value


def _reason(error: ValidationError) -> str:
    """The first thing that is wrong: where, what was expected, and what is there."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"] if part != "[key]")
    place = f"`{_cut(place)}` " if place else ""
    if first["type"] == "missing":
        return f"{place}is missing"
    if first["type"] == "extra_forbidden":
        return f"{place}is not known"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    for theirs, ours in _WORDS.items():
        message = message.replace(theirs, ours)
    return f"{place}{message[:1].lower()}{message[1:200]}, found {_cut(_shown(first['input']))}"


def _shown(value: object) -> str:
    try:
        return repr(value)
    except ValueError:  # an integer of thousands of digits
        return "a value too large to show"


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def _number(value: object) -> float:
    match value:
        case bool():
            pass
        case float():
            return value
        case int() if abs(value) <= LARGEST:
            return value
    raise ValueError("should be a number")


Number = Annotated[float, PlainValidator(_number)]
"""Any number, not finite ones too; whole ones stay whole."""


def _not_empty(value: Mapping[str, T]) -> Mapping[str, T]:
    if not value:
        raise ValueError("should have at least one entry")
    return value


NotEmpty = AfterValidator(_not_empty)
"""Of a mapping that holds something."""
