"""Parquet source: an image in each row."""

from __future__ import annotations

import bisect
import copy
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sslkit.interfaces import Blocks, Decoder, Source, digest, digests_within, fingerprint_of, state_of
from sslkit.plugin import DataError, SplitSpec, names_of
from sslkit_sources.attributes import encode
from sslkit_sources.parquet_files import parquet_files, parquet_problem
from sslkit_sources.parquet_images import GroupCache, Images, group_images, held_images
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
    window: int | None = None
    """Row groups whose images are mixed with each other, and that a process keeps. None: images are held in memory."""


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
    """Encoded images in memory or in row groups, decoded on access.

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
        self._ends, self.blocks = _ends(self._parts), self._in_blocks()
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
        part._parts = [images.chosen(rows) for images, rows in zip(self._parts, part._rows, strict=True)]
        part._ends, part.blocks = _ends(part._parts), part._in_blocks()
        part.labels = None if self.labels is None else self.labels[kept]
        part.attributes = {name: values[kept] for name, values in self.attributes.items()}
        return part

    def digests(self) -> NDArray[np.uint8]:
        """`[N, 16]` of the encoded images."""
        every = enumerate(zip(self.files, self._states, self._parts, strict=True))
        return np.concatenate(
            [
                digests_within(path, self._column(file), state, part.digests)
                for file, (path, state, part) in every
            ]
        )

    def __getstate__(self) -> dict[str, object]:
        return {key: value for key, value in vars(self).items() if key != "_parts"}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state)
        self._parts = self._images()

    def _images(self) -> list[Images]:
        """Of each file, those that are kept."""
        column, window = self.columns.image, self.columns.window
        parts: list[Images]
        if window is None:
            parts = [held_images(path, column) for path in self.files]
        else:
            cache = GroupCache(column, window + 1)  # and one more, where two windows meet
            parts = [group_images(path, cache) for path in self.files]
        if self._rows is None:
            return parts
        return [images.chosen(rows) for images, rows in zip(parts, self._rows, strict=True)]

    def _in_blocks(self) -> Blocks | None:
        """How many images each row group has, where they are read by these."""
        if self.columns.window is None:
            return None
        sizes = [size for images in self._parts for size in images.group_sizes() if size]
        return Blocks(sizes, self.columns.window)

    def _column(self, file: int) -> str:
        """What the digests of a file are kept under."""
        column = self.columns.image
        return column if self._rows is None else f"{column} {digest(self._rows[file].data).hex()}"

    def __len__(self) -> int:
        return int(self._ends[-1])

    def encoded(self, index: int) -> tuple[bytes, str]:
        """The bytes of image `index`, and its file and row."""
        part, row = self._place(index)
        data = self._parts[part].cell(row)
        if data is None:
            raise DataError(f"{self.name(index)}: column {self.columns.image!r} holds no bytes")
        return data, self.name(index)

    def load(self, index: int) -> Tensor:
        return self.decoder(*self.encoded(index))

    def name(self, index: int) -> str:
        """File and row."""
        part, row = self._place(index)
        return f"{self.files[part]} row {self._parts[part].rows[row]}"

    def _place(self, index: int) -> tuple[int, int]:
        part = bisect.bisect_right(self._ends, index)
        return part, index - (self._ends[part - 1] if part else 0)


def _ends(parts: Sequence[Images]) -> list[int]:
    """Where the images of each file end among all."""
    return list(accumulate(map(len, parts)))


def _existing(entries: Sequence[Path]) -> list[Path]:
    """The files that `entries` name, each once. Raises DataError where one names none, or those of several splits."""
    for files in entries:
        if problem := parquet_problem(files):
            raise DataError(problem)
    return list(dict.fromkeys(path for files in entries for path in parquet_files(files)))
