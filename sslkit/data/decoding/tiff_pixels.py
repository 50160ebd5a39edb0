"""TIFF files by their tags: bits, sample format, planes, polarity, extra samples and pages."""

from __future__ import annotations

import io
import math
import re
from contextlib import suppress

import numpy as np
import tifffile
from numpy.typing import NDArray

from sslkit.data.decoding.image_limits import require_pixels
from sslkit.data.decoding.raw_image import SIDEWAYS, Pixels, Raw, stacked_planes, turned
from sslkit.errors import DataError

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""What TIFF and BigTIFF begin with."""
WHITE_IS_ZERO, RGB, PALETTE, INKS, YCBCR = 0, 2, 3, 5, 6
"""Values of the tag PhotometricInterpretation."""
ORIENTATION, GDAL_METADATA = 274, 42112
"""Tags."""
ASSOCIATED, UNASSOCIATED = 1, 2
"""Values of the tag ExtraSamples: alpha that colors are multiplied by, and other alpha."""
_BY_LIBTIFF = frozenset({5, 8, 32946})
"""Compressions, LZW and Deflate, that libtiff unpacks in half of the time of tifffile."""
_BAND = re.compile(r'<Item name="DESCRIPTION" sample="(\d+)"[^>]*>([^<]*)<')
_CHANNEL = re.compile(r'<Channel\b[^>]*?\bName="([^"]*)"')


def read_tiff(data: bytes, name: str, whole: bool, max_pixels: int) -> Raw:
    """The first image of a TIFF file: all pages of its size and type with `whole`, or else the first.

    Pages that a file calls channels are read in any case.

    Raises:
        DataError: it has too many pixels, or a kind of color that cannot be read.
    """
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        series = file.series[0]
        page = series.keyframe
        every = whole or "C" in series.axes
        shape, axes = (series.shape, series.axes) if every else (page.shape, page.axes)
        samples = page.samplesperpixel
        planes = math.prod(series.shape) // (page.imagelength * page.imagewidth)
        pages = max(1, planes // samples)
        count = math.prod(shape) // (page.imagelength * page.imagewidth)
        require_pixels(page.imagewidth, page.imagelength, count, name, max_pixels)
        several = every and len(series.pages) > 1
        array = np.asarray(series.asarray(maxworkers=1)) if several else _whole_page(page, data)
        pixels = _native(stacked_planes(array.reshape(shape), axes))
        pixels = turned(pixels, int(page.tags.valueof(ORIENTATION, 1)))
        colors = _colors(int(page.photometric), samples, name)
        alpha, premultiplied = _alpha(tuple(map(int, page.extrasamples)), samples)
        inverted = int(page.photometric) == WHITE_IS_ZERO
        channels = pages if samples == 1 and "C" in series.axes else samples
        if samples == 1 and "C" in series.axes and pages > 1:  # pages are channels
            colors, pages = 0, 1
        return Raw(
            pixels, colors, alpha, premultiplied, channels, pages, _high(page), inverted, _names(file, planes)
        )


def tiff_size(data: bytes) -> tuple[int, int]:
    """Height and width of the first image of a TIFF file, upright."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.series[0].keyframe
        turns = int(page.tags.valueof(ORIENTATION, 1)) in SIDEWAYS
        height, width = page.imagelength, page.imagewidth
        return (width, height) if turns else (height, width)


def _whole_page(page: tifffile.TiffPage, data: bytes) -> NDArray[np.generic]:
    """The pixels of a page of the file `data`, as it stores them."""
    plain = page.dtype is not None and page.bitspersample == 8 * page.dtype.itemsize
    if plain and page.index == 0 and page.compression in _BY_LIBTIFF and all(page.databytecounts):
        with suppress(Exception):  # tifffile says what is wrong with a damaged file
            import imagecodecs

            array = np.asarray(imagecodecs.tiff_decode(data, index=0))
            if (array.shape, array.dtype) == (page.shape, page.dtype):
                return array
    return np.asarray(page.asarray(maxworkers=1))


def _native(pixels: Pixels) -> Pixels:
    """In the machine's order of bytes, and in memory as they are."""
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def _colors(photometric: int, samples: int, name: str) -> int:
    if photometric == PALETTE:
        raise DataError(f"{name}: has a palette of more than 8 bits; convert it to color")
    if photometric in (RGB, YCBCR) and samples >= 3:
        return 3
    if photometric == INKS:
        return 4
    return 1 if samples <= 2 else 3 if samples == 3 else 0


def _alpha(extra: tuple[int, ...], samples: int) -> tuple[int | None, bool]:
    """Its place, and whether colors are multiplied by it."""
    for place, kind in enumerate(extra, start=samples - len(extra)):
        if kind in (ASSOCIATED, UNASSOCIATED):
            return place, kind == ASSOCIATED
    return None, False


def _high(page: tifffile.TiffPage) -> float | None:
    """The highest value of integers that are packed in fewer bits than their type has."""
    bits, dtype = page.bitspersample, page.dtype
    if dtype is None or dtype.kind not in "u" or bits >= 8 * dtype.itemsize:
        return None
    return float(2**bits - 1)


def _names(file: tifffile.TiffFile, planes: int) -> tuple[str, ...]:
    """Of the planes, as OME, ImageJ or GDAL wrote them; empty where there are not as many."""
    labels = (file.imagej_metadata or {}).get("Labels") or ()
    tag = str(file.pages.first.tags.valueof(GDAL_METADATA, ""))
    described = [text for _, text in sorted((int(place), text) for place, text in _BAND.findall(tag))]
    for names in (_CHANNEL.findall(file.ome_metadata or ""), list(labels), described):
        if names and len(names) == planes:
            return tuple(map(str, names))
    return ()
