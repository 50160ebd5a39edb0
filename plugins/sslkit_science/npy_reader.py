"""NumPy files: `.npy`, mapped into memory, and the arrays of `.npz`. Pickled objects are never loaded."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO, NamedTuple, final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from sslkit.plugin import DataError, require_regular
from sslkit_science.arrays import labeled_planes
from sslkit_science.layout import Layout, Window, layout_of
from sslkit_science.reader import Handles, Pixels, Plane, Reader, decoding, require_numbers

ARCHIVES = 2
"""Arrays of archives that a process keeps in memory."""


class Header(NamedTuple):
    """What the first bytes of an array tell."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]


@final
class Loaded:
    """An array that is mapped, or in memory."""

    def __init__(self, values: NDArray[np.generic]) -> None:
        self.values = values

    def close(self) -> None:
        """A mapping ends with its array."""


@final
class NumPyReader(Reader):
    """One array of each file."""

    def __init__(self, array: str | None, axes: str | None, labels: str | None, max_bytes: int) -> None:
        """`array`, `labels`: members of `.npz` files."""
        self.array, self.axes, self.labels, self.max_bytes = array, axes, labels, max_bytes
        self.settings = (array, axes, labels)
        self._open = Handles(self._load, ARCHIVES)

    def planes(self, path: Path) -> list[Plane]:
        with decoding(path):
            header = self._header(path)
            layout = self._layout(header, path)
            labels = None if self.labels is None or not _is_archive(path) else self._read(path, self.labels)
            return labeled_planes(layout, labels, str(path))

    def read(self, path: Path, plane: Plane, window: Window) -> Pixels:
        with decoding(path, plane.name):
            values = self._open[path].values
            layout = self._layout(Header(values.shape, values.dtype), path)
            return layout.arranged(values[layout.selection(plane.place[0], window)])

    def _layout(self, header: Header, path: Path) -> Layout:
        require_numbers(header.dtype, str(path))
        return layout_of(header.shape, self.axes, str(path))

    def _header(self, path: Path) -> Header:
        require_regular(path)
        if not _is_archive(path):
            with path.open("rb") as file:
                return read_header(file)
        with zipfile.ZipFile(path) as archive, archive.open(self._member(archive, path)) as file:
            return read_header(file)

    def _member(self, archive: zipfile.ZipFile, path: Path) -> str:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if self.array in names:
            return f"{self.array}.npy"
        others = [name for name in names if name != self.labels]
        if self.array is None and len(others) == 1:
            return f"{others[0]}.npy"
        raise DataError(f"{path}: holds the arrays {', '.join(names)}; name one with the field `array`")

    def _load(self, path: Path) -> Loaded:
        if not _is_archive(path):
            return Loaded(npy.open_memmap(path, mode="r"))
        with zipfile.ZipFile(path) as archive:
            member = self._member(archive, path)
        return Loaded(self._read(path, member.removesuffix(".npy")))

    def _read(self, path: Path, name: str) -> NDArray[np.generic]:
        """A member of an archive, whole."""
        with zipfile.ZipFile(path) as archive:
            if f"{name}.npy" not in archive.namelist():
                names = ", ".join(each.removesuffix(".npy") for each in archive.namelist())
                raise DataError(f"{path}: has no array {name!r}; it has {names}")
            with archive.open(f"{name}.npy") as file:
                header = read_header(file)
            size = int(np.prod(header.shape, dtype=np.float64)) * header.dtype.itemsize
            if size > self.max_bytes:
                raise DataError(
                    f"{path}: the array {name!r} has {size:,} bytes, more than max_bytes={self.max_bytes:,}; write it "
                    "as .npy, of which the images alone are read, or raise `max_bytes`"
                )
            with archive.open(f"{name}.npy") as file:
                return np.asarray(npy.read_array(file, allow_pickle=False))


def read_header(file: IO[bytes]) -> Header:
    """Shape and type of the array that `file` begins with."""
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(file)
    return Header(tuple(shape), dtype)


def _is_archive(path: Path) -> bool:
    return path.suffix.lower() == ".npz"
