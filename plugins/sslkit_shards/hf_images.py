"""Images in columns of Hugging Face data sets: files, paths of files, and arrays."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol, final

import numpy as np
import pyarrow as pa
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor

from sslkit.interfaces import (
    SIZE,
    Decoder,
    digest,
    digests_of_files,
    resolve_range,
    settled_decoder,
    to_pixels,
)
from sslkit.plugin import DataError, Range
from sslkit_shards.hf_texts import column_of

AT_ONCE = 64
"""Rows that are hashed at a time."""
LOOKED_AT = 64
"""Images at most that tell the range of numbers."""


class Rows(Protocol):
    """Some rows of a data set, as `HFSource` has them."""

    decoder: Decoder
    rows: NDArray[np.int64]


class _Shaped(Protocol):
    """The features `Array2D` and `Array3D`."""

    shape: tuple[int | None, ...]
    dtype: str


class ImageColumn(ABC):
    """Images in the rows of one column."""

    by_path: bool = False
    """Whether images lie in files of their own, which may change while the rows do not."""

    def __init__(self, column: Dataset, where: str) -> None:
        self.column, self.where = column, where

    @abstractmethod
    def pixels(self, row: int, decoder: Decoder) -> Tensor:
        """The image of `row`, as `Source.load` gives it. Raises DataError where there is none, or it is damaged."""

    @abstractmethod
    def digests(self) -> NDArray[np.uint8]:
        """`[N, 16]` of what is stored; zeros where there is no image."""

    @abstractmethod
    def settled(self, rows: Rows, setting: Range, train: Callable[[], Rows]) -> Decoder:
        """The decoder of `rows` with the range that `setting` stands for. Raises DataError where it does not fit."""

    def file(self, row: int) -> bytes | None:
        """The image file of `row`; None where images are numbers. Raises DataError."""
        return None


@final
class EncodedColumn(ImageColumn):
    """Image files in the rows, as bytes or by their paths."""

    def __init__(self, column: Dataset, where: str) -> None:
        super().__init__(column, where)
        first = next(_cells(column))
        self._struct = pa.types.is_struct(first.type)
        self.by_path = self._struct and not (first.is_valid and first["bytes"].is_valid)

    def pixels(self, row: int, decoder: Decoder) -> Tensor:
        return decoder(self.file(row), f"{self.where} row {row}")

    def settled(self, rows: Rows, setting: Range, train: Callable[[], Rows]) -> Decoder:
        return settled_decoder(rows.decoder, setting, _Files(self, rows), lambda: _Files(self, train()))

    def file(self, row: int) -> bytes:
        cell = self.column[row].column(0)[0].as_py() or {}
        content, path = (cell.get("bytes"), cell.get("path")) if self._struct else (cell or None, None)
        if content is not None:
            return bytes(content)
        if not path:
            raise DataError(f"{self.where} row {row}: holds no image")
        try:
            return Path(path).read_bytes()
        except OSError as error:
            raise DataError(f"{self.where} row {row}: {path} cannot be read: {error.strerror}") from None

    def digests(self) -> NDArray[np.uint8]:
        digests = np.zeros((len(self.column), SIZE), dtype=np.uint8)
        paths = dict[int, str]()
        for row, cell in enumerate(_cells(self.column)):
            if not cell.is_valid:
                continue
            encoded = cell["bytes"] if self._struct else cell
            if encoded.is_valid:
                digests[row] = np.frombuffer(digest(memoryview(encoded.as_buffer())), dtype=np.uint8)
            elif self._struct and (path := cell["path"].as_py()):
                paths[row] = str(Path(path).absolute())
        if paths:
            digests[list(paths)] = _of_files(list(paths.values()))
        return digests


@final
class _Files:
    """The image files of some rows, as `settled_decoder` takes them."""

    def __init__(self, images: EncodedColumn, rows: Rows) -> None:
        self.images, self.rows = images, rows.rows

    def __len__(self) -> int:
        return len(self.rows)

    def encoded(self, index: int) -> tuple[bytes, str]:
        """What is stored of an image, and its name. Raises DataError."""
        row = int(self.rows[index])
        return self.images.file(row), f"{self.images.where} row {row}"


def _of_files(paths: list[str]) -> NDArray[np.uint8]:
    root = Path(os.path.commonpath(paths))
    root = root.parent if len(set(paths)) == 1 else root
    return digests_of_files(root, [os.path.relpath(path, root) for path in paths])


@final
class ArrayColumn(ImageColumn):
    """Images as numbers: features `Array2D` and `Array3D`."""

    def __init__(self, column: Dataset, feature: _Shaped, channels: int, where: str) -> None:
        """Raises DataError where images of this shape have other channels."""
        super().__init__(column, where)
        self.dtype, self.shape = np.dtype(feature.dtype), tuple(feature.shape)
        self.last = len(self.shape) == 3 and self.shape[2] == channels
        if not (self.last or (self.shape[0] == channels if len(self.shape) == 3 else channels == 1)):
            raise DataError(
                f"{where}: images have the shape {list(self.shape)}, and `channels` is {channels}; set `channels` to "
                "their first or last axis, or to 1 where they have two axes"
            )

    def pixels(self, row: int, decoder: Decoder) -> Tensor:
        return to_pixels(np.ascontiguousarray(self.numbers(row)), decoder.pixel_range)

    def settled(self, rows: Rows, setting: Range, train: Callable[[], Rows]) -> Decoder:
        looked = (train() if hasattr(setting, "percentile") else rows).rows
        samples = list[NDArray[np.generic]]()
        for row in looked[:: -(-len(looked) // LOOKED_AT)]:
            with suppress(DataError):  # told when it is their turn
                samples.append(self.numbers(int(row)))
        return rows.decoder._replace(pixel_range=resolve_range(setting, samples, "data.range"))

    def numbers(self, row: int) -> NDArray[np.generic]:
        """The image of `row`, `[C, H, W]`. Raises DataError where the cell is empty."""
        array = self._array(next(_cells(self.column.select([row]))), row)
        if array.ndim == 2:
            return array[None]
        return array.transpose(2, 0, 1) if self.last else array

    def digests(self) -> NDArray[np.uint8]:
        digests = np.zeros((len(self.column), SIZE), dtype=np.uint8)
        for row, cell in enumerate(_cells(self.column)):
            if cell.is_valid:
                array = self._array(cell, row)
                content = repr((array.shape, array.dtype.str)).encode() + array.tobytes()
                digests[row] = np.frombuffer(digest(content), dtype=np.uint8)
        return digests

    def _array(self, cell: pa.Scalar, row: int) -> NDArray[np.generic]:
        """Arrow's own values: in the format "numpy" `datasets` gives arrays of another type than the feature's."""
        if not cell.is_valid:
            raise DataError(f"{self.where} row {row}: holds no image")
        values = cell.value.values
        while pa.types.is_list(values.type):
            values = values.flatten()
        numbers: NDArray[np.generic] = values.to_numpy(zero_copy_only=False).astype(self.dtype, copy=False)
        return numbers.reshape(-1, *(size or -1 for size in self.shape[1:]))


def images_in(dataset: Dataset, name: str, channels: int, where: str) -> ImageColumn:
    """How the images of column `name` are read.

    Raises:
        DataError: there is no such column, or it holds no images.
    """
    column = column_of(dataset, name, "image_column", where)
    feature = dataset.features[name]
    match type(feature).__name__, getattr(feature, "dtype", None):
        case ("Image", _) | ("Value", "binary" | "large_binary"):
            return EncodedColumn(column, where)
        case (("Array2D" | "Array3D"), _):
            return ArrayColumn(column, feature, channels, where)
    raise DataError(
        f"{where}: column {name!r} is a feature {type(feature).__name__}; expected Image, Array2D, Array3D or binary. "
        "Name another with `image_column`, or cast it with `cast_column` and write it by `save_to_disk`"
    )


def _cells(column: Dataset) -> Iterator[pa.Scalar]:
    for table in column.iter(batch_size=AT_ONCE):
        for chunk in table.column(0).chunks:
            yield from chunk
