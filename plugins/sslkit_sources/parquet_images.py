"""The image column of a parquet file: held in memory, or read by row groups."""

from __future__ import annotations

import bisect
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sslkit.interfaces import SIZE, digest, stacked
from sslkit.plugin import DataError
from sslkit_sources.parquet_columns import read_column, read_group

Rows = NDArray[np.int64]


class Images(ABC):
    """Encoded images of one file, by row."""

    rows: Rows
    """Those of the file that are kept, sorted."""

    def __len__(self) -> int:
        return len(self.rows)

    @abstractmethod
    def cell(self, place: int) -> bytes | None:
        """The image at `place` among `rows`; None where the cell is empty. Raises DataError."""

    @abstractmethod
    def chosen(self, rows: Rows) -> Images:
        """Those of `rows` of the file alone."""

    @abstractmethod
    def digests(self) -> NDArray[np.uint8]:
        """`[N, 16]`; zeros for empty cells. Raises DataError."""

    def group_sizes(self) -> list[int]:
        """How many of `rows` each row group has, where they are read by groups."""
        return []


@final
class HeldImages(Images):
    """All images in memory."""

    def __init__(self, column: pa.ChunkedArray, rows: Rows | None = None) -> None:
        self._column = column
        self.rows = np.arange(len(column)) if rows is None else rows

    def cell(self, place: int) -> bytes | None:
        content: bytes | None = self._column[place].as_py()
        return content

    def chosen(self, rows: Rows) -> HeldImages:
        kept = np.isin(self.rows, rows)
        return HeldImages(self._column.filter(pa.array(kept)), rows)

    def digests(self) -> NDArray[np.uint8]:
        return stacked([_digest(value) for chunk in self._column.chunks for value in chunk])


@final
class GroupCache:
    """The row groups that a process read last."""

    def __init__(self, column: str, most: int) -> None:
        """`column`: of the images; `most`: groups that are kept."""
        self.column, self.most = column, most
        self._groups: OrderedDict[tuple[Path, int], pa.ChunkedArray] = OrderedDict()

    def read(self, path: Path, group: int) -> pa.ChunkedArray:
        """The images of a row group. Raises DataError where it cannot be read."""
        key = path, group
        if key not in self._groups:
            while len(self._groups) >= self.most:
                self._groups.popitem(last=False)  # before the next one takes memory too
            self._groups[key] = self.fresh(path, group)
        self._groups.move_to_end(key)
        return self._groups[key]

    def fresh(self, path: Path, group: int) -> pa.ChunkedArray:
        """As `read`, without keeping it."""
        return encoded_in(read_group(path, self.column, group), path, self.column, whole=False)

    def __getstate__(self) -> tuple[str, int]:
        return self.column, self.most

    def __setstate__(self, state: tuple[str, int]) -> None:
        self.column, self.most = state
        self._groups = OrderedDict()


@final
class GroupImages(Images):
    """Images that are read by row groups, of which few are in memory."""

    def __init__(self, path: Path, sizes: list[int], cache: GroupCache, rows: Rows | None = None) -> None:
        """`sizes`: rows of each row group of the file at `path`."""
        self.path, self.sizes, self.cache = path, sizes, cache
        self._ends = list(accumulate(sizes))
        self.rows = np.arange(sum(sizes)) if rows is None else rows

    def cell(self, place: int) -> bytes | None:
        row = int(self.rows[place])
        group = bisect.bisect_right(self._ends, row)
        images = self.cache.read(self.path, group)
        content: bytes | None = images[row - self._ends[group] + self.sizes[group]].as_py()
        return content

    def chosen(self, rows: Rows) -> GroupImages:
        return GroupImages(self.path, self.sizes, self.cache, rows)

    def digests(self) -> NDArray[np.uint8]:
        return stacked(list(self._digests()))

    def group_sizes(self) -> list[int]:
        groups = np.searchsorted(self._ends, self.rows, side="right")
        return list(map(int, np.bincount(groups, minlength=len(self.sizes))))

    def _digests(self) -> Iterator[bytes]:
        """Of one row group after the other, each let go of before the next."""
        for group, size in enumerate(self.group_sizes()):
            if size:
                end = self._ends[group]
                kept = self.rows[(self.rows >= end - self.sizes[group]) & (self.rows < end)]
                images = self.cache.fresh(self.path, group)
                yield from (_digest(images[int(row) - end + self.sizes[group]]) for row in kept)


def held_images(path: Path, column: str) -> HeldImages:
    """The images of the file. Raises DataError where it cannot be read, or holds something else."""
    return HeldImages(read_images(path, column))


def group_images(path: Path, cache: GroupCache) -> GroupImages:
    """The images of the file, of which the first row group is looked at. Raises DataError as `held_images`."""
    sizes = group_sizes(path)
    for group in range(len(sizes)):
        images = cache.fresh(path, group)
        if images.null_count < len(images):
            break
    else:
        read_images(path, cache.column)  # all cells are empty, which it tells the reason of
    return GroupImages(path, sizes, cache)


def group_sizes(path: Path) -> list[int]:
    """Rows of each row group. Raises DataError where the file is no parquet file."""
    try:
        with pq.ParquetFile(path) as file:
            metadata = file.metadata
            return [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as parquet: {error}") from None


def read_images(path: Path, column: str) -> pa.ChunkedArray:
    """The encoded images of `column`.

    Raises:
        DataError: the file is no parquet file, or the column is missing or holds something else.
    """
    return encoded_in(read_column(path, column, "image_column"), path, column)


def encoded_in(images: pa.ChunkedArray, path: Path, column: str, *, whole: bool = True) -> pa.ChunkedArray:
    """The encoded images in what `column` holds, of which `images` are all rows where `whole`.

    Raises:
        DataError: that is something else, or all rows are paths.
    """
    if pa.types.is_struct(images.type) and images.type.get_field_index("bytes") >= 0:
        images = (
            _embedded(images, f"{path}: column {column!r}") if whole else pc.struct_field(images, "bytes")
        )
    if not whole and pa.types.is_null(images.type):
        return images
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


def _digest(value: pa.Scalar) -> bytes:
    return digest(memoryview(value.as_buffer())) if value.is_valid else bytes(SIZE)
