"""Labels of parquet rows, matched by the names of their classes across files."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslkit.plugin import DataError, SslkitWarning
from sslkit_sources.hugging_face import class_names
from sslkit_sources.parquet_columns import read_column, read_metadata


class _Coded(NamedTuple):
    """The labels of one file."""

    path: Path
    codes: NDArray[np.integer]
    """`[N]`, places in `names`, or numbers of classes where there are none."""
    names: tuple[str, ...]
    """What the codes mean: text in the column, or the Hugging Face features of an integer column."""
    text: bool
    """Whether the column holds text."""


def read_labels(
    files: Sequence[Path],
    column: str | None,
    classes: tuple[str, ...] = (),
    max_classes: int = 100_000,
    *,
    numbers_agree: bool = False,
) -> tuple[Tensor | None, tuple[str, ...]]:
    """Labels and class names: integers are labels, strings are classes in sorted order.

    Integers are named by each file's Hugging Face features where it has them, and files that list the names in
    different orders are matched by name. `classes` fixes the classes beforehand; without, unnamed integers have as many
    as the largest of them says, at most `max_classes`. A warning tells where numbers without names are believed to be
    those of named classes, but for `numbers_agree`.

    Raises:
        DataError: the column is missing, holds something else, or a label lies outside `classes` or the limit.
    """
    if column is None:
        return None, ()
    coded = [_labels_of(path, column) for path in files]
    if not any(len(one.codes) for one in coded):
        raise DataError(f"{files[0]}: holds no rows, so no labels in column {column!r}")
    coded = [one for one in coded if len(one.codes)]
    unnamed = [one for one in coded if not one.names]
    classes = (
        classes or _names_of(coded) or _numbers(unnamed, max_classes, f"{files[0].parent}: column {column!r}")
    )
    if not numbers_agree:
        _require_comparable(coded, classes, column)
    index = {name: place for place, name in enumerate(classes)}
    labels = [_matched(one, index, column) for one in coded]
    return torch.from_numpy(np.concatenate(labels)), classes


def _names_of(coded: Sequence[_Coded]) -> tuple[str, ...]:
    """All names, in the order of the first file that has each; text is sorted."""
    names = [name for one in coded if not one.text for name in one.names]
    text = {name for one in coded if one.text for name in one.names}
    return tuple(dict.fromkeys([*names, *sorted(text)]))


def _numbers(unnamed: Sequence[_Coded], most: int, where: str) -> tuple[str, ...]:
    largest = max(int(one.codes.max()) for one in unnamed)
    if largest >= most:
        different = len(set[int]().union(*(np.unique(one.codes).tolist() for one in unnamed)))
        raise DataError(
            f"{where} has the label {largest}, and {different:,} different labels in all; labels count the classes "
            f"from 0, up to max_classes={most:,}. Number the classes from 0, write their names, raise the field "
            "`max_classes`, or set `label_column: null` where these are no classes"
        )
    return tuple(map(str, range(largest + 1)))


def _require_comparable(coded: Sequence[_Coded], classes: tuple[str, ...], column: str) -> None:
    """Pass where labels of all files are names, or numbers of `classes`; warn where that has to be believed.

    Raises:
        DataError: some labels are text, and others are numbers without names.
    """
    numbered = classes == tuple(map(str, range(len(classes))))
    unnamed = next((one for one in coded if not one.names), None)
    if unnamed is None or numbered:
        return
    text = next((one for one in coded if one.text), None)
    if text is not None:
        raise DataError(
            f"{unnamed.path}: column {column!r} holds numbers without names, but that of {text.path} holds names; "
            "write names or numbers in all files"
        )
    warnings.warn(
        f"{unnamed.path}: has no names for the numbers in column {column!r}, so they are taken for those of the other "
        f"files: 0 is {classes[0]!r}. Where they are not, write the names into the column",
        SslkitWarning,
        stacklevel=2,
    )


def _matched(one: _Coded, index: dict[str, int], column: str) -> NDArray[np.int64]:
    """Places among the classes of all files. Raises DataError for a label that has none."""
    places = np.array(
        [index.get(name, -1) for name in one.names] or list(index.values()) or [-1], dtype=np.int64
    )
    outside = (one.codes < 0) | (one.codes >= len(places))
    labels = places[np.where(outside, 0, one.codes).astype(np.int64)]
    strange = np.flatnonzero(outside | (labels < 0))
    if len(strange):
        code = int(one.codes[strange[0]])
        label = one.names[code] if 0 <= code < len(one.names) else code
        raise DataError(
            f"{one.path.parent}: label {label!r} in column {column!r} is none of the {len(index)} "
            "classes. If the images have no labels, set `label_column: null`."
        )
    return labels


def _labels_of(path: Path, column: str) -> _Coded:
    labels = read_column(path, column, "label_column")
    if pa.types.is_dictionary(labels.type):
        labels = labels.cast(labels.type.value_type)
    kinds = (pa.types.is_integer, pa.types.is_string, pa.types.is_large_string)
    if labels.null_count or not any(kind(labels.type) for kind in kinds):
        content = f"{labels.null_count} empty cells" if labels.null_count else str(labels.type)
        raise DataError(
            f"{path}: column {column!r} holds {content}; expected an integer or a class name in every row. "
            "Name another column with `label_column`, or none with `label_column: null`."
        )
    if pa.types.is_integer(labels.type):
        return _Coded(path, labels.to_numpy(), class_names(path, read_metadata(path), column), text=False)
    encoded = labels.combine_chunks().dictionary_encode()
    return _Coded(path, encoded.indices.to_numpy(), tuple(encoded.dictionary.to_pylist()), text=True)


def read_attributes(files: Sequence[Path], columns: Sequence[str]) -> dict[str, list[str | None]]:
    """Column -> the value of each row as text; None where the cell is empty.

    Raises:
        DataError: a column is missing, or holds neither whole numbers, truth values nor text.
    """
    return {
        name: [value for path in files for value in _texts_of(path, name, "attributes")] for name in columns
    }


def read_groups(files: Sequence[Path], column: str) -> list[str]:
    """The group of each row, as text.

    Raises:
        DataError: the column is missing, holds something else, or a cell is empty.
    """
    groups = list[str]()
    for path in files:
        for row, group in enumerate(_texts_of(path, column, "group_column")):
            if not group:
                raise DataError(
                    f"{path} row {row}: has no group in the column {column!r}; `split` goes by group, so each image "
                    "needs one"
                )
            groups.append(group)
    return groups


def _texts_of(path: Path, column: str, field: str) -> Iterable[str | None]:
    values = read_column(path, column, field)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    kinds = (pa.types.is_integer, pa.types.is_boolean, pa.types.is_string, pa.types.is_large_string)
    if not any(kind(values.type) for kind in kinds):
        raise DataError(
            f"{path}: `{field}`: column {column!r} holds {values.type}; expected whole numbers, truth values or text"
        )
    return [None if value is None else str(value) for value in values.to_pylist()]
