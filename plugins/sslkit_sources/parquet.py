"""Parquet source: an image in each row."""

from __future__ import annotations

import bisect
import copy
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from itertools import accumulate
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from torch import Tensor

from sslkit.interfaces import SIZE, Decoder, Source, digest, digests_within, fingerprint_of, stacked, state_of
from sslkit.plugin import DataError, SplitSpec, names_of
from sslkit_sources.attributes import encode
from sslkit_sources.parquet_columns import read_column
from sslkit_sources.parquet_files import parquet_files, parquet_problem
from sslkit_sources.parquet_labels import read_attributes, read_groups, read_labels


class Columns(NamedTuple):
    """Names of the columns that are read."""

    image: str
    """A struct with a field `bytes`, or binary."""
    label: str | None
    attributes: tuple[str, ...] = ()
    """Further labels."""
    max_classes: int = 100_000
    """That integer labels may count up to."""
    group: str | None = None
    """What stays together in a split that is drawn."""


def parquet(
    files: Sequence[Path], columns: Columns, decoder: Decoder, train: Sequence[Path]
) -> ParquetSource:
    """The images of `files`; their labels count through the classes of `train`, the training split's files.

    Raises:
        DataError: files are missing, empty or unreadable, or lack a column.
    """
    paths = _existing(files)
    first = paths if files == train else _existing(train)
    classes = () if files == train else read_labels(first, columns.label, (), columns.max_classes)[1]
    names = {name: names_of(values) for name, values in read_attributes(first, columns.attributes).items()}
    return ParquetSource(paths, columns, decoder, classes, names)


def drawn_rows(whole: ParquetSource, draw: SplitSpec, split: str) -> ParquetSource:
    """The images of `whole` that `draw` puts into `split`, by what they hold, or by their group.

    So neither the order of rows nor their files move any, and equal images are never in both splits.

    Raises:
        DataError: a split would be empty, or an image has no group.
    """
    column, where = whole.columns.group, str(whole.files[0].parent)
    if draw.by == "group" and column is not None:
        names = read_groups(whole.files, column)
    else:
        names = [row.tobytes().hex() for row in whole.digests()]
    labels = None if whole.labels is None else whole.labels.tolist()
    return whole.part(draw.places(names, split, where, labels=labels, classes=whole.classes))


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
        self.channels, self.channel_names = decoder.channels, decoder.names
        self._states = [state_of(path) for path in self.files]
        self._rows: list[NDArray[np.int64]] | None = None
        self._parts = self._images()
        self._ends = _ends(self._parts)
        if not self._ends[-1]:
            raise DataError(f"{self.files[0]}: holds no rows; expected an image in each")
        self.labels, self.classes = read_labels(self.files, columns.label, classes, columns.max_classes)
        self.attributes = encode(read_attributes(self.files, columns.attributes), names, str(self.files[0]))
        self.attribute_values = {name: tuple(names[name]) for name in self.attributes}

    @cached_property
    def fingerprint(self) -> str:
        """Over the encoded images, labels and attributes; not over how the files store them."""
        return fingerprint_of(self, self.attribute_values, *self.decoder.settings())

    def part(self, places: Sequence[int]) -> ParquetSource:
        """The images at `places`, in their order; the others are let go of."""
        kept = np.array(places, dtype=np.int64)
        files = np.searchsorted(self._ends, kept, side="right")
        rows = kept - np.array([0, *self._ends])[files]
        part = copy.copy(self)
        part._rows = [rows[files == file] for file in range(len(self.files))]
        part._parts = [part._chosen(images, file) for file, images in enumerate(self._parts)]
        part._ends = _ends(part._parts)
        part.labels = None if self.labels is None else self.labels[kept]
        part.attributes = {name: values[kept] for name, values in self.attributes.items()}
        return part

    def digests(self) -> NDArray[np.uint8]:
        """`[N, 16]` of the encoded images."""
        every = enumerate(zip(self.files, self._states, self._parts, strict=True))
        return np.concatenate(
            [
                digests_within(path, self._column(file), state, partial(_hashed, part))
                for file, (path, state, part) in every
            ]
        )

    def __getstate__(self) -> dict[str, object]:
        return {key: value for key, value in vars(self).items() if key != "_parts"}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state)
        self._parts = self._images()

    def _images(self) -> list[pa.ChunkedArray]:
        """Of each file, those that are kept."""
        return [
            self._chosen(read_images(path, self.columns.image), file) for file, path in enumerate(self.files)
        ]

    def _chosen(self, images: pa.ChunkedArray, file: int) -> pa.ChunkedArray:
        if self._rows is None:
            return images
        kept = np.zeros(len(images), dtype=np.bool_)
        kept[self._rows[file]] = True
        return images.filter(pa.array(kept))

    def _column(self, file: int) -> str:
        """What the digests of a file are kept under."""
        column = self.columns.image
        return column if self._rows is None else f"{column} {digest(self._rows[file].data).hex()}"

    def __len__(self) -> int:
        return int(self._ends[-1])

    def encoded(self, index: int) -> tuple[bytes, str]:
        """The bytes of image `index`, and its file and row."""
        part, row = self._place(index)
        data = self._parts[part][row].as_py()
        if data is None:
            raise DataError(f"{self.name(index)}: column {self.columns.image!r} holds no bytes")
        return data, self.name(index)

    def load(self, index: int) -> Tensor:
        return self.decoder(*self.encoded(index))

    def name(self, index: int) -> str:
        """File and row."""
        part, row = self._place(index)
        return f"{self.files[part]} row {row if self._rows is None else self._rows[part][row]}"

    def _place(self, index: int) -> tuple[int, int]:
        part = bisect.bisect_right(self._ends, index)
        return part, index - (self._ends[part - 1] if part else 0)


def _ends(parts: Sequence[pa.ChunkedArray]) -> list[int]:
    """Where the images of each file end among all."""
    return list(accumulate(map(len, parts)))


def _hashed(images: pa.ChunkedArray) -> NDArray[np.uint8]:
    """`[N, 16]`; zeros for empty cells."""
    values = (value.as_buffer() for chunk in images.chunks for value in chunk)
    return stacked([bytes(SIZE) if value is None else digest(memoryview(value)) for value in values])


def read_images(path: Path, column: str) -> pa.ChunkedArray:
    """The encoded images of `column`.

    Raises:
        DataError: the file is no parquet file, or the column is missing or holds something else.
    """
    images = read_column(path, column, "image_column")
    if pa.types.is_struct(images.type) and images.type.get_field_index("bytes") >= 0:
        images = _embedded(images, f"{path}: column {column!r}")
    if not (pa.types.is_binary(images.type) or pa.types.is_large_binary(images.type)):
        raise DataError(
            f"{path}: column {column!r} holds {images.type}; expected encoded images, as binary or as a "
            "struct with a field `bytes`. Name another column with `image_column`."
        )
    return images


def _embedded(images: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    """The field `bytes`. Raises DataError where every row has a path in its place, and the images lie elsewhere."""
    encoded = pc.struct_field(images, "bytes")
    paths = pc.struct_field(images, "path") if images.type.get_field_index("path") >= 0 else None
    if (
        len(encoded)
        and encoded.null_count == len(encoded)
        and paths is not None
        and paths.null_count < len(paths)
    ):
        raise DataError(
            f"{where} holds paths, such as {paths.drop_null()[0].as_py()!r}, and no bytes; name that folder with "
            "`kind: folder`, or write the images into the file: map `datasets.table.embed_table_storage` over the data "
            "set in the format 'arrow' before `to_parquet`"
        )
    return encoded


def _existing(entries: Sequence[Path]) -> list[Path]:
    """The files that `entries` name, each once. Raises DataError where one names none, or those of several splits."""
    for files in entries:
        if problem := parquet_problem(files):
            raise DataError(problem)
    return list(dict.fromkeys(path for files in entries for path in parquet_files(files)))
