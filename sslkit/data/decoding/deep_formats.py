"""Files other than TIFF that hold more than 8 bits, of which PIL keeps 8: PNG, PNM, JPEG 2000, and AVIF and HEIC."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

import numpy as np

from sslkit.data.decoding.image_limits import require_pixels
from sslkit.data.decoding.raw_image import Pixels, Raw, by_count
from sslkit.errors import DataError

PNG = b"\x89PNG\r\n\x1a\n"
TURNING = frozenset({b"eXIf", b"tEXt", b"zTXt", b"iTXt"})
"""Chunks of a PNG that may hold an EXIF orientation, the latter three as text."""
PNM = re.compile(rb"P([56])(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)\s")
"""Kind, width, height and highest value."""
BIT_DEPTHS = re.compile(rb"pixi\0\0\0\0([\1-\4])(.)", re.DOTALL)
"""Of AVIF and HEIC: how many channels there are, and the bits of the first (ISO 23008-12, PixelInformationProperty)."""
SIZE_MARKER = b"\xff\x4f\xff\x51"
"""What a JPEG 2000 codestream begins with."""


def is_deep_png(data: bytes) -> bool:
    """Whether `data` is a PNG of 16 bits."""
    return data.startswith(PNG) and data[12:16] == b"IHDR" and data[24:25] == b"\x10"


def may_be_turned(data: bytes) -> bool:
    """Whether `data` has a place for an EXIF orientation: to look for one, PIL decodes all pixels of a PNG."""
    return not data.startswith(PNG) or not TURNING.isdisjoint(_chunks(data))


def read_png(data: bytes) -> Raw:
    """A PNG of 16 bits, whose size was looked at."""
    import imagecodecs

    return by_count(_planes(np.asarray(imagecodecs.png_decode(data))))


def is_deep_pnm(data: bytes) -> bool:
    """Whether `data` is a binary PGM or PPM of more than 8 bits."""
    header = PNM.match(data[:1024])
    return header is not None and int(header[4]) > 255


def read_pnm(data: bytes, name: str) -> Raw:
    """A PGM or PPM of more than 8 bits; its header says which value is white.

    Raises:
        DataError: it is shorter than its header says.
    """
    header = PNM.match(data[:1024])
    assert header is not None  # it was looked at
    kind, width, height, high = (int(text) for text in header.groups())
    samples = 3 if kind == 6 else 1
    if len(data) - header.end() < 2 * width * height * samples:
        raise DataError(f"{name}: cannot be decoded: the file is truncated")
    values = np.frombuffer(data, ">u2", width * height * samples, header.end()).astype(np.uint16)
    pixels = _planes(values.reshape(height, width, samples))
    return by_count(pixels)._replace(high=None if high == 65535 else float(high))


def deep_jpeg2000(data: bytes) -> int:
    """Bits of the samples of a JPEG 2000 image, where they are more than 8 or it has more than 4; else 0."""
    at = data.find(SIZE_MARKER, 0, 1 << 16)
    if at < 0 or len(data) < at + 44:
        return 0
    (samples,) = struct.unpack(">H", data[at + 40 : at + 42])
    bits = (data[at + 42] & 0x7F) + 1
    return bits if bits > 8 or samples > 4 else 0


def read_jpeg2000(data: bytes, name: str, max_pixels: int) -> Raw:
    """A JPEG 2000 image in its own bits.

    Raises:
        DataError: it has too many pixels.
    """
    import imagecodecs

    at = data.find(SIZE_MARKER, 0, 1 << 16) + 8
    right, bottom, left, top = struct.unpack(">4I", data[at : at + 16])
    (samples,) = struct.unpack(">H", data[at + 32 : at + 34])
    require_pixels(right - left, bottom - top, samples, name, max_pixels)
    pixels = _planes(np.asarray(imagecodecs.jpeg2k_decode(data)))
    bits = (data[at + 34] & 0x7F) + 1
    whole = pixels.dtype.kind != "u" or bits == 8 * pixels.dtype.itemsize
    return by_count(pixels)._replace(high=None if whole else float(2**bits - 1))


def lost_bits(kind: str | None, data: bytes) -> str:
    """What PIL does not keep of an AVIF or HEIC image; empty where it has 8 bits, or is of another kind."""
    depths = BIT_DEPTHS.search(data[: 1 << 16]) if kind in ("AVIF", "HEIF") else None
    bits = depths[2][0] if depths else 8
    if bits <= 8:
        return ""
    return f"has {bits} bits a sample, of which 8 are read; convert it to PNG or TIFF of 16 bits to keep all"


def _chunks(data: bytes) -> Iterator[bytes]:
    """The kinds of the chunks of a PNG."""
    at = len(PNG)
    while at + 8 <= len(data):
        yield data[at + 4 : at + 8]
        at += 12 + int.from_bytes(data[at : at + 4], "big")


def _planes(array: Pixels) -> Pixels:
    """`[H, W]` or `[H, W, C]` as `[C, H, W]`; channels stay side by side in memory, as crops take them."""
    return array.reshape(*array.shape[:2], -1).transpose(2, 0, 1)
