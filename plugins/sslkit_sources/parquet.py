"""Parquet source: an image in each row."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslkit.interfaces import SIZE, Source, digest, digests_within, fingerprint_of, stacked, state_of
from sslkit.plugin import DataError, require_regular
from sslkit_sources.attributes import encode, names_of
from sslkit_sources.decode import Decoder
from sslkit_sources.hugging_face import class_names
from sslkit_sources.listing import parquet_files, parquet_problem


class Columns(NamedTuple):
    """Names of the columns that are read."""

    image: str
    """A struct with a field `bytes`, or binary."""
    label: str | None
    attributes: tuple[str, ...] = ()
    """Further labels."""
    max_classes: int = 100_000
    """That integer labels may count up to."""


def parquet(files: Path, columns: Columns, decoder: Decoder, train: Path) -> ParquetSource:
    """The images of `files`; their labels count through the classes of `train`, the training split's files.

    Raises:
        DataError: files are missing, empty or unreadable, or lack a column.
    """
    paths = _existing(files)
    first = paths if files == train else _existing(train)
    classes = () if files == train else read_labels(first, columns.label, (), columns.max_classes)[1]
    names = {name: names_of(values) for name, values in read_attributes(first, columns.attributes).items()}
    return ParquetSource(paths, columns, decoder, classes, names)


@final
class ParquetSource(Source):
    """Encoded images in memory, decoded on access.

    A forked worker shares the memory; a spawned one reads the files again rather than receive the rows.
    """

    def __init__(
        self,
        files: Sequence[Path],
        columns: Columns,
        decoder: Decoder,
        classes: tuple[str, ...] = (),
        names: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    ) -> None:
        """`classes`: the training images' classes, where these are test images; `names`: their attributes' values."""
        self.files = list(files)
        self.columns = columns
        self.decoder = decoder
        self.channels = decoder.channels
        self._states = [state_of(path) for path in self.files]
        self._parts = [read_images(path, columns.image) for path in self.files]
        self._ends = torch.tensor([len(part) for part in self._parts]).cumsum(0).tolist()
        if not self._ends[-1]:
            raise DataError(f"{self.files[0]}: holds no rows; expected an image in each")
        self.labels, self.classes = read_labels(self.files, columns.label, classes, columns.max_classes)
        self.attributes = encode(read_attributes(self.files, columns.attributes), names, str(self.files[0]))
        self._names = {name: tuple(names[name]) for name in self.attributes}

    @cached_property
    def fingerprint(self) -> str:
        """Over the encoded images, labels and attributes; not over how the files store them."""
        return fingerprint_of(self, self._names)

    def digests(self) -> NDArray[np.uint8]:
        """`[N, 16]` of the encoded images."""
        every = zip(self.files, self._states, self._parts, strict=True)
        return np.concatenate(
            [
                digests_within(path, self.columns.image, state, partial(_hashed, part))
                for path, state, part in every
            ]
        )

    def __getstate__(self) -> dict[str, object]:
        return {key: value for key, value in vars(self).items() if key != "_parts"}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state)
        self._parts = [read_images(path, self.columns.image) for path in self.files]

    def __len__(self) -> int:
        return int(self._ends[-1])

    def load(self, index: int) -> Tensor:
        part, row = self._place(index)
        data = self._parts[part][row].as_py()
        if data is None:
            raise DataError(f"{self.name(index)}: column {self.columns.image!r} holds no bytes")
        return self.decoder(data, self.name(index))

    def name(self, index: int) -> str:
        """File and row."""
        part, row = self._place(index)
        return f"{self.files[part]} row {row}"

    def _place(self, index: int) -> tuple[int, int]:
        part = bisect.bisect_right(self._ends, index)
        return part, index - (self._ends[part - 1] if part else 0)


def _hashed(images: pa.ChunkedArray) -> NDArray[np.uint8]:
    """`[N, 16]`; zeros for empty cells."""
    values = (value.as_buffer() for chunk in images.chunks for value in chunk)
    return stacked([bytes(SIZE) if value is None else digest(memoryview(value)) for value in values])


def read_images(path: Path, column: str) -> pa.ChunkedArray:
    """The encoded images of `column`.

    Raises:
        DataError: the file is no parquet file, or the column is missing or holds something else.
    """
    images = _read(path, column, "image_column")
    if pa.types.is_struct(images.type) and images.type.get_field_index("bytes") >= 0:
        images = pc.struct_field(images, "bytes")
    if not (pa.types.is_binary(images.type) or pa.types.is_large_binary(images.type)):
        raise DataError(
            f"{path}: column {column!r} holds {images.type}; expected encoded images, as binary or as a "
            "struct with a field `bytes`. Name another column with `image_column`."
        )
    return images


def read_labels(
    files: Sequence[Path], column: str | None, classes: tuple[str, ...] = (), max_classes: int = 100_000
) -> tuple[Tensor | None, tuple[str, ...]]:
    """Labels and class names: integers are labels, strings are classes in sorted order.

    Integers are named by the file's Hugging Face features where it has them. `classes` fixes the classes
    beforehand; without, integers have as many as the largest of them says, at most `max_classes`.

    Raises:
        DataError: the column is missing, holds something else, or a label lies outside `classes` or the limit.
    """
    if column is None:
        return None, ()
    values = [label for path in files for label in _labels_of(path, column)]
    if not values:
        raise DataError(f"{files[0]}: holds no rows, so no labels in column {column!r}")
    if isinstance(values[0], str):
        classes = classes or tuple(sorted(set(values)))
        index = {name: i for i, name in enumerate(classes)}
        strange = next((v for v in values if v not in index), None)
        labels = [index.get(value, -1) for value in values]
    else:
        classes = classes or class_names(files[0], _metadata(files[0]), column)
        if not classes:
            _require_few(values, max_classes, f"{files[0].parent}: column {column!r}")
            classes = tuple(map(str, range(max(values) + 1)))
        strange = next((v for v in values if not 0 <= v < len(classes)), None)
        labels = values
    if strange is not None:
        raise DataError(
            f"{files[0].parent}: label {strange!r} in column {column!r} is none of the {len(classes)} "
            "classes. If the images have no labels, set `label_column: null`."
        )
    return torch.tensor(labels), classes


def _require_few(labels: Sequence[int], most: int, where: str) -> None:
    if max(labels) >= most:
        different = len(set(labels))
        raise DataError(
            f"{where} has the label {max(labels)}, and {different:,} different labels in all; labels count the classes "
            f"from 0, up to max_classes={most:,}. Number the classes from 0, write their names, raise the field "
            "`max_classes`, or set `label_column: null` where these are no classes"
        )


def read_attributes(files: Sequence[Path], columns: Sequence[str]) -> dict[str, list[str | None]]:
    """Column -> the value of each row as text; None where the cell is empty.

    Raises:
        DataError: a column is missing, or holds neither whole numbers, truth values nor text.
    """
    return {name: [value for path in files for value in _attribute_of(path, name)] for name in columns}


def _attribute_of(path: Path, column: str) -> list[str | None]:
    values = _read(path, column, "attributes")
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    kinds = (pa.types.is_integer, pa.types.is_boolean, pa.types.is_string, pa.types.is_large_string)
    if not any(kind(values.type) for kind in kinds):
        raise DataError(
            f"{path}: attribute {column!r} holds {values.type}; expected whole numbers, truth values or text"
        )
    return [None if value is None else str(value) for value in values.to_pylist()]


def _existing(files: Path) -> list[Path]:
    problem = parquet_problem(files)
    if problem:
        raise DataError(problem)
    return parquet_files(files)


def _labels_of(path: Path, column: str) -> list[Any]:
    labels = _read(path, column, "label_column")
    if pa.types.is_dictionary(labels.type):
        labels = labels.cast(labels.type.value_type)
    kinds = (pa.types.is_integer, pa.types.is_string, pa.types.is_large_string)
    if labels.null_count or not any(kind(labels.type) for kind in kinds):
        content = f"{labels.null_count} empty cells" if labels.null_count else str(labels.type)
        raise DataError(
            f"{path}: column {column!r} holds {content}; expected an integer or a class name in every row. "
            "Name another column with `label_column`, or none with `label_column: null`."
        )
    return list(labels.to_pylist())


def _read(path: Path, column: str, field: str) -> pa.ChunkedArray:
    require_regular(path)
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if column not in names:
                raise DataError(
                    f"{path}: has no column {column!r}; it has {', '.join(names)}. "
                    f"Name one of them with `{field}`."
                )
            return file.read(columns=[column]).column(0)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as parquet: {error}") from None


def _metadata(path: Path) -> Mapping[bytes, bytes]:
    try:
        return pq.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as parquet: {error}") from None
