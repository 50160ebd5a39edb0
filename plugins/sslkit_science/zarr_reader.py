"""Zarr stores of both formats, and OME-Zarr, through zarr: arrays read chunk by chunk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, NamedTuple, final

import numpy as np
from pydantic import BaseModel, Field, TypeAdapter

from sslkit.plugin import DataError, JsonFile
from sslkit_science.arrays import labeled_planes
from sslkit_science.axes import axes_problem
from sslkit_science.layout import Layout, Window, layout_of
from sslkit_science.libraries import library
from sslkit_science.reader import Handles, Pixels, Plane, Reader, decoding, require_numbers

if TYPE_CHECKING:
    from zarr import Array

CODECS = frozenset({
    "blosc", "zstd", "gzip", "zlib", "lz4", "lzma", "bz2", "shuffle", "delta", "fixedscaleoffset", "packbits", "bytes",
    "transpose", "crc32c", "crc32", "adler32", "sharding_indexed",
})  # fmt: skip
"""Codecs that turn bytes into numbers. Others, such as `pickle`, which runs code, are refused before they are made."""
NUMBERS = frozenset({
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64",
})  # fmt: skip
"""Types of Zarr 3 that are read."""


@final
class Codec(BaseModel):
    """One step from bytes to numbers: `id` in Zarr 2, `name` in Zarr 3."""

    id: str = ""
    name: str = ""
    configuration: Inner | None = None


@final
class Inner(BaseModel):
    """Codecs within a shard."""

    codecs: tuple[Codec, ...] = ()
    index_codecs: tuple[Codec, ...] = ()


@final
class ArrayV2(BaseModel):
    """`.zarray`."""

    dtype: str
    compressor: Codec | None
    filters: tuple[Codec, ...] | None


@final
class ArrayV3(BaseModel):
    """`zarr.json` of an array."""

    data_type: str
    codecs: tuple[Codec, ...]
    storage_transformers: tuple[object, ...] = ()


@final
class Axis(BaseModel):
    """Of a multiscale image."""

    name: str


@final
class Level(BaseModel):
    """One of its sizes."""

    path: str


@final
class Multiscale(BaseModel):
    """An image of OME-Zarr, in several sizes."""

    datasets: Annotated[tuple[Level, ...], Field(min_length=1)]
    axes: tuple[Axis, ...] = ()


@final
class Channel(BaseModel):
    """How one is shown."""

    label: str = ""


@final
class Rendering(BaseModel):
    """How an image is shown."""

    channels: tuple[Channel, ...] = ()


@final
class Attributes(BaseModel):
    """Those of a group: OME-Zarr up to 0.4 has images at the top, and from 0.5 on inside `ome`."""

    multiscales: tuple[Multiscale, ...] = ()
    omero: Rendering = Rendering()
    ome: Attributes | None = None


@final
class GroupV3(BaseModel):
    """`zarr.json` of a group."""

    attributes: Attributes = Attributes()


class Place(NamedTuple):
    """An array within a store."""

    array: str
    axes: str | None
    channel_names: tuple[str, ...] = ()


ADVICE = "expected the metadata of a Zarr store; write the store anew"


@final
class ZarrReader(Reader):
    """One array of each store, or one size of its image."""

    def __init__(self, array: str | None, axes: str | None, level: int) -> None:
        library("zarr")
        self.array, self.axes, self.level = array, axes, level
        self.settings = (array, axes, level)
        self._open = Handles(self._opened)

    def planes(self, path: Path) -> list[Plane]:
        with decoding(path):
            layout, names = self._layout(self._opened(path).array, path), self._place(path).channel_names
            named = len(names) == layout.channels == len(set(names)) and all(names)
            planes = labeled_planes(layout, None, str(path))
            return [plane._replace(channel_names=names) for plane in planes] if named else planes

    def read(self, path: Path, plane: Plane, window: Window) -> Pixels:
        with decoding(path, plane.name):
            array = self._open[path].array
            layout = self._layout(array, path)
            return layout.arranged(np.asarray(array[layout.selection(plane.place[0], window)]))

    def parts(self, path: Path) -> list[Path]:
        """Chunks and metadata."""
        return sorted(Path(folder) / name for folder, _, names in os.walk(path) for name in names)

    def _opened(self, path: Path) -> Opened:
        return Opened(open_array(path, self._place(path).array))

    def _layout(self, array: Array, path: Path) -> Layout:
        require_numbers(np.dtype(array.dtype), str(path))
        return layout_of(array.shape, self._place(path).axes, str(path))

    def _place(self, path: Path) -> Place:
        """The array that is read, and its axes."""
        attributes = _attributes(path) if self.array is None else Attributes()
        images, names = (
            attributes.multiscales,
            tuple(channel.label for channel in attributes.omero.channels),
        )
        if not images:
            return Place(self.array or _only_array(path), self.axes)
        levels = images[0].datasets
        if self.level >= len(levels):
            raise DataError(f"{path}: has {len(levels)} levels, counted from 0; level: {self.level}")
        axes = self.axes or "".join(axis.name.upper() for axis in images[0].axes) or "TCZYX"
        if problem := axes_problem(axes):
            raise DataError(f"{path}: {problem}; name the axes with the field `axes`")
        return Place(levels[self.level].path, axes, names)


@final
class Opened:
    """An array whose metadata are read."""

    def __init__(self, array: Array) -> None:
        self.array = array

    def close(self) -> None:
        """Chunks are opened and closed one by one."""


def open_array(store: Path, array: str) -> Array:
    """The array at a path inside a store, once its codecs are known to give numbers.

    Raises:
        DataError: there is none, it holds no numbers, or has a codec that is not among `CODECS`.
    """
    if PurePosixPath(array).is_absolute() or ".." in PurePosixPath(array).parts:
        raise DataError(f"{store}: {array!r} leads out of the store")
    folder = store / array
    if (folder / ".zarray").is_file():
        v2 = JsonFile(TypeAdapter(ArrayV2), DataError, ADVICE).read(folder / ".zarray")
        codecs, zarr_format = [*(v2.filters or ()), *([v2.compressor] if v2.compressor else [])], 2
        require_numbers(np.dtype(v2.dtype), str(folder))
    elif (folder / "zarr.json").is_file():
        v3 = JsonFile(TypeAdapter(ArrayV3), DataError, ADVICE).read(folder / "zarr.json")
        codecs, zarr_format = list(v3.codecs), 3
        if v3.data_type not in NUMBERS or v3.storage_transformers:
            raise DataError(f"{folder}: holds {v3.data_type}; expected numbers, stored as they are")
    else:
        raise DataError(f"{folder}: is no Zarr array; name one inside the store with the field `array`")
    if strange := [name for name in _names(codecs) if name not in CODECS]:
        raise DataError(
            f"{folder}: is coded by {strange[0]!r}, which is not read; write it with one of {_list(CODECS)}"
        )
    return library("zarr").open_array(str(folder), mode="r", zarr_format=zarr_format)


def _names(codecs: list[Codec]) -> Iterator[str]:
    for codec in codecs:
        yield (codec.id or codec.name).removeprefix("numcodecs.")
        if codec.configuration:
            yield from _names([*codec.configuration.codecs, *codec.configuration.index_codecs])


def _attributes(store: Path) -> Attributes:
    """What a store tells of its images."""
    if (store / ".zattrs").is_file():
        attributes = JsonFile(TypeAdapter(Attributes), DataError, ADVICE).read(store / ".zattrs")
    elif (store / "zarr.json").is_file():
        attributes = JsonFile(TypeAdapter(GroupV3), DataError, ADVICE).read(store / "zarr.json").attributes
    else:
        return Attributes()
    return attributes.ome or attributes


def _only_array(store: Path) -> str:
    """The path of the only array of a store; empty where the store is the array."""
    if (store / ".zarray").is_file() or _is_array(store):
        return ""
    inside = sorted(path.parent.relative_to(store).as_posix() for path in store.rglob(".zarray"))
    inside += sorted(
        path.parent.relative_to(store).as_posix()
        for path in store.rglob("zarr.json")
        if _is_array(path.parent)
    )
    if len(inside) != 1:
        raise DataError(f"{store}: holds the arrays {', '.join(inside[:8])}; name one with the field `array`")
    return inside[0]


def _is_array(folder: Path) -> bool:
    path = folder / "zarr.json"
    return path.is_file() and NodeType.model_validate_json(path.read_bytes()).node_type == "array"


@final
class NodeType(BaseModel):
    """What a `zarr.json` tells of."""

    node_type: str = ""


def _list(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))
