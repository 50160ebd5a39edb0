"""Attributes of images, further labels by name, as numbers of their values. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sslkit.errors import DataError

Values = Sequence[str | None]
"""The value of each image; None where it is unknown."""


def names_of(values: Iterable[str | None]) -> tuple[str, ...]:
    """Distinct values in their order: numerical where all are whole numbers."""
    distinct = {value for value in values if value is not None}
    whole = all(value.removeprefix("-").isdecimal() for value in distinct)
    return tuple(sorted(distinct, key=lambda value: (int(value), value) if whole else (0, value)))


def value_numbers(
    columns: Mapping[str, Values], names: Mapping[str, Sequence[str]], where: str
) -> dict[str, list[int]]:
    """Column -> places among `names`, which are the training images' values; -1 where unknown.

    Raises:
        DataError: a value is none of the names, or a column has no names.
    """
    numbers = {}
    for column, values in columns.items():
        index: dict[str | None, int] = {name: i for i, name in enumerate(names.get(column, ()))} | {None: -1}
        strange = next((value for value in values if value not in index), None)
        if strange is not None:
            raise DataError(f"{where}: attribute {column!r} is {strange!r}, which no training image has")
        numbers[column] = [index[value] for value in values]
    return numbers
