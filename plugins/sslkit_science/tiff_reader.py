"""TIFF through tifffile: pages, series, planes, tiles."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, final

import numpy as np

from sslkit.plugin import DataError, require_regular
from sslkit_science.axes import SYNONYMS
from sslkit_science.channel_names import channel_names
from sslkit_science.layout import Layout, Window
from sslkit_science.libraries import library
from sslkit_science.reader import Handles, Pixels, Plane, Reader, decoding, require_numbers

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffFrame, TiffPage, TiffPageSeries

OVERVIEW = 1 << 24
"""Pixels of a smaller copy of an image at most, to look for empty tiles."""


class Choice(NamedTuple):
    """Which images of a file are read."""

    pages: str
    """What further axes are: `images` or `channels`."""
    series: int | None
    """Which; None: all."""
    level: int
    """Of a pyramid, 0 the full size."""


@final
class TIFFReader(Reader):
    """Reads axes, pixel types, polarity and missing values from the file's tags."""

    def __init__(self, choice: Choice) -> None:
        library("tifffile")
        self.choice, self.settings = choice, choice
        self._open = Handles(open_tiff)

    def planes(self, path: Path) -> list[Plane]:
        with decoding(path):
            file = open_tiff(path)
            try:
                return [
                    plane
                    for number in self._numbers(path, file)
                    for plane in self._of_series(path, file, number)
                ]
            finally:
                file.close()

    def read(self, path: Path, plane: Plane, window: Window) -> Pixels:
        with decoding(path, plane.name):
            number, level, image = plane.place
            series = self._open[path].series[number].levels[level]
            return _values(series, self._layout(series), image, window)

    def overview(self, path: Path, plane: Plane) -> Pixels | None:
        number, level, image = plane.place
        with decoding(path, plane.name):
            levels = self._open[path].series[number].levels[level + 1 :]
            small = [one for one in levels if math.prod(self._layout(one).size) <= OVERVIEW]
            if not small:
                return None
            layout = self._layout(small[0])
            return _values(small[0], layout, image, Window(0, 0, *layout.size))

    def _numbers(self, path: Path, file: TiffFile) -> range:
        if self.choice.series is None:
            return range(len(file.series))
        if self.choice.series >= len(file.series):
            raise DataError(
                f"{path}: has {len(file.series)} series, counted from 0; series: {self.choice.series}"
            )
        return range(self.choice.series, self.choice.series + 1)

    def _of_series(self, path: Path, file: TiffFile, number: int) -> Iterator[Plane]:
        levels = file.series[number].levels
        if self.choice.level >= len(levels):
            raise DataError(f"{path}: has {len(levels)} levels, counted from 0; level: {self.choice.level}")
        series = levels[self.choice.level]
        require_numbers(np.dtype(series.dtype), str(path))
        layout, page = self._layout(series), series.keyframe
        channels = 3 if _is_palette(page) else layout.channels
        names = channel_names(file, number, channels)
        for image in range(layout.images):
            if series.dataoffset is None and _page(series, layout, image) is None:
                continue  # its pixels lie in another file, which is an image of its own
            name = " ".join(filter(None, [f"series {number}" * (len(file.series) > 1), layout.name(image)]))
            yield Plane((number, self.choice.level, image), name, channels, *layout.size, _limits(page),
                        inverted=page.photometric == 0, channel_names=names)  # fmt: skip

    def _layout(self, series: TiffPageSeries) -> Layout:
        axes = "".join(SYNONYMS.get(axis, axis) for axis in series.axes)
        if axes.count("C") > 1:  # channels that are pages, of several samples each
            axes = axes.replace("C", "c", axes.count("C") - 1)
        others = (
            "".join(axis for axis in axes if axis not in "YXCc") if self.choice.pages == "channels" else ""
        )
        return Layout(axes, tuple(series.shape), f"Cc{others}")


def open_tiff(path: Path) -> TiffFile:
    """The file, its header read; other files that it names are not opened."""
    require_regular(path)
    file: TiffFile = library("tifffile").TiffFile(path, _multifile=False)
    return file


def _values(series: TiffPageSeries, layout: Layout, image: int, window: Window) -> Pixels:
    """The part of an image within `window`, `[C, H, W]`; values that stand for none become NaN in floats."""
    page = series.keyframe
    if series.dataoffset is not None and not _is_palette(page):
        whole = np.memmap(
            page.parent.filehandle.path,
            dtype=np.dtype(page.parent.byteorder + series.dtype.char),
            mode="r",
            offset=series.dataoffset,
            shape=tuple(series.shape),
        )
        pixels = np.array(layout.arranged(whole[layout.selection(image, window)]))
    else:
        pixels = _of_pages(series, layout, image, window)
    if _is_palette(page):
        return np.asarray(page.colormap)[:, pixels[0]]
    if pixels.dtype.kind == "f" and page.tags.get(42113) is not None:
        pixels = np.where(pixels == page.nodata, np.nan, pixels)
    return pixels


def _of_pages(series: TiffPageSeries, layout: Layout, image: int, window: Window) -> Pixels:
    """From the strips or tiles that the window meets."""
    page = series.keyframe
    inner = len(page.shape)
    if inner > len(layout.axes) or page.shaped[1] > 1 or tuple(series.shape[-inner:]) != tuple(page.shape):
        return layout.arranged(series.asarray()[layout.selection(image, window)])  # volumes within a page
    parts = []
    for number in _page_numbers(layout, image, inner):
        part = series.pages[number]
        if part is None:
            raise DataError(f"{page.parent.filehandle.path}: a page of the image is missing")
        parts.append(_of_page(part, page, window))
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


def _page_numbers(layout: Layout, image: int, inner: int) -> list[int]:
    """The pages that an image is in, in the order of its channels; the last `inner` axes lie within a page."""
    outer = layout.shape[: len(layout.shape) - inner]
    numbers = np.arange(math.prod(outer)).reshape(outer)
    position = layout.position(image)
    selection = tuple(position.get(axis, slice(None)) for axis in range(len(outer)))
    return [int(number) for number in np.asarray(numbers[selection]).reshape(-1)]


def _page(series: TiffPageSeries, layout: Layout, image: int) -> TiffPage | TiffFrame | None:
    """The first page of an image; None where it lies in another file."""
    inner = len(series.keyframe.shape)
    if inner > len(layout.axes):
        return series.keyframe
    return series.pages[_page_numbers(layout, image, inner)[0]]


def _of_page(frame: TiffPage | TiffFrame, keyframe: TiffPage, window: Window) -> Pixels:
    """The part of one page, `[C, H, W]`, decoding only the strips or tiles that it meets."""
    planes, _, height, width, samples = keyframe.shaped
    step_y = keyframe.tilelength if keyframe.is_tiled else keyframe.rowsperstrip
    step_x = keyframe.tilewidth if keyframe.is_tiled else width
    down, across = math.ceil(height / step_y), math.ceil(width / step_x)
    pixels = np.full((planes, window.height, window.width, samples), keyframe.nodata, dtype=keyframe.dtype)
    file = keyframe.parent.filehandle
    for plane in range(planes):
        for row in range(window.y // step_y, math.ceil((window.y + window.height) / step_y)):
            for column in range(window.x // step_x, math.ceil((window.x + window.width) / step_x)):
                at = (plane * down + row) * across + column
                size = frame.databytecounts[at]
                if not size:  # a sparse file leaves out tiles where nothing is
                    continue
                file.seek(frame.dataoffsets[at])
                segment, (_, _, y, x, _), _ = keyframe.decode(file.read(size), at, **_tables(frame, keyframe))
                if segment is not None:
                    _paste(pixels[plane], segment[0], y - window.y, x - window.x)
    return np.moveaxis(pixels, 3, 1).reshape(-1, window.height, window.width)


def _tables(frame: TiffPage | TiffFrame, keyframe: TiffPage) -> dict[str, bytes | None]:
    """What JPEG needs beside the bytes of a segment."""
    if keyframe.compression not in {6, 7, 34892, 33007}:
        return {}
    return {"jpegtables": frame.jpegtables, "jpegheader": keyframe.jpegheader}


def _paste(pixels: Pixels, segment: Pixels, y: int, x: int) -> None:
    """Write the part of `segment` `[h, w, S]`, whose corner lies at `y`, `x`, that falls into `pixels`."""
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + segment.shape[0], pixels.shape[0]), min(x + segment.shape[1], pixels.shape[1])
    if top < bottom and left < right:
        pixels[top:bottom, left:right] = segment[top - y : bottom - y, left - x : right - x]


def _is_palette(page: TiffPage) -> bool:
    return page.photometric == 3 and page.colormap is not None


def _limits(page: TiffPage) -> tuple[float, float] | None:
    """Where a sample has other bits than its type, as 12 in 16."""
    bits, kind = page.bitspersample, np.dtype(page.dtype).kind
    if kind != "u" or bits >= 8 * np.dtype(page.dtype).itemsize:
        return None
    return 0, 2**bits - 1
