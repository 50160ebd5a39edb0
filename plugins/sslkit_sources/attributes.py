"""Image attributes: further labels by name, from a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from sslkit.plugin import DataError, Values, read_text, value_numbers

PATH = "path"
"""Column of a CSV file that names the image."""


def encode(
    columns: Mapping[str, Values], names: Mapping[str, Sequence[str]], where: str
) -> dict[str, Tensor]:
    """Column -> `[N]` int64, places among `names`, which are the training images' values; -1 where unknown.

    Raises:
        DataError: a value is none of the names, or a column has no names.
    """
    numbers = value_numbers(columns, names, where)
    return {column: torch.tensor(places) for column, places in numbers.items()}


class Coded(NamedTuple):
    """The attributes of a source."""

    numbers: Mapping[str, Tensor]
    """`[N]` int64 of each, -1 where it is unknown."""
    values: Mapping[str, tuple[str, ...]]
    """What the numbers of each stand for."""


def coded(columns: Mapping[str, Values], names: Mapping[str, tuple[str, ...]], where: str) -> Coded:
    """As `encode`, with the names of what is encoded."""
    return Coded(encode(columns, names, where), {column: names.get(column, ()) for column in columns})


def read_csv(path: Path, files: Sequence[str]) -> dict[str, Values]:
    """The columns of a CSV file for the images `files`; empty cells and images that it leaves out are unknown.

    Raises:
        DataError: the file cannot be read, has no column `path` or no other, or names no image.
    """
    try:
        reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
        header, rows = list(reader.fieldnames or ()), list(reader)
    except csv.Error as error:
        raise DataError(f"{path}: cannot be read as CSV: {error}") from None
    if PATH not in header or len(header) < 2:
        raise DataError(
            f"{path}: its first line is {', '.join(header) or 'empty'}; expected {PATH!r} and the names of attributes"
        )
    by_file = {row[PATH].replace("\\", "/"): row for row in rows if row[PATH]}
    keys = [name.replace("\\", "/") for name in files]
    if not by_file.keys() & set(keys):
        raise DataError(
            f"{path}: names none of the {len(keys)} images; expected paths below the root, such as {keys[0]!r}"
        )
    return {
        column: [by_file.get(key, {}).get(column) or None for key in keys]
        for column in header
        if column != PATH
    }
