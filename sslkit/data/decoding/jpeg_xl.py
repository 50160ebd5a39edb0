"""JPEG XL images of more than 8 bits, of whose colors PIL's plugin keeps 8. Fields: ISO/IEC 18181-1, headers."""

from __future__ import annotations

from typing import NamedTuple, final

import numpy as np

from sslkit.data.decoding.raw_image import Pixels, Raw, by_count

CODESTREAM = b"\xff\x0a"
CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
"""What files begin with, bare and in boxes."""
LOOKED_AT = 64
"""Bytes of a codestream that hold the fields."""


class Depth(NamedTuple):
    """Of the samples."""

    bits: int
    floats: bool


@final
class _Bits:
    """Bits of a header, the lowest of each byte first."""

    def __init__(self, data: bytes) -> None:
        self._rest = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        value = self._rest & ((1 << count) - 1)
        self._rest >>= count
        return value

    def choose(self, *widths: int) -> int:
        """A number of one of four widths."""
        return self.take(widths[self.take(2)])


def depth(data: bytes) -> Depth | None:
    """Of a JPEG XL file; None where it is none, or is one of several frames."""
    start = _codestream(data)
    if not start.startswith(CODESTREAM):
        return None
    bits = _Bits(start[2:LOOKED_AT])
    _skip_size(bits)
    if bits.take(1):  # all fields have their defaults
        return Depth(8, False)
    if bits.take(1):  # more fields
        bits.take(3)  # orientation
        if bits.take(1):
            _skip_size(bits)
        if bits.take(2):  # preview, animation
            return None
    if bits.take(1):
        return Depth(_one_of(bits, 32, 16, 24), True)
    return Depth(_one_of(bits, 8, 10, 12), False)


def is_deep_jpegxl(data: bytes) -> bool:
    """Whether `data` is a JPEG XL image of more than 8 bits."""
    samples = depth(data)
    return samples is not None and samples.bits > 8


def read_jpegxl(data: bytes) -> Raw:
    """A JPEG XL image whose size was looked at and whose samples have more than 8 bits, upright."""
    import imagecodecs

    array: Pixels = np.asarray(imagecodecs.jpegxl_decode(data, numthreads=1))
    pixels = array.reshape(*array.shape[:2], -1).transpose(2, 0, 1)
    samples = depth(data)
    assert samples is not None  # it was looked at
    whole = samples.floats or samples.bits == 8 * pixels.dtype.itemsize
    return by_count(pixels)._replace(high=None if whole else float(2**samples.bits - 1))


def _one_of(bits: _Bits, *usual: int) -> int:
    """One of the usual depths, or another."""
    place = bits.take(2)
    return usual[place] if place < len(usual) else bits.take(6) + 1


def _skip_size(bits: _Bits) -> None:
    small = bits.take(1)
    for side in range(2):
        if side == 0 or not bits.take(3):  # the width may follow from a ratio
            bits.take(5) if small else bits.choose(9, 13, 18, 30)


def _codestream(data: bytes) -> bytes:
    """The first bytes of the codestream."""
    if not data.startswith(CONTAINER):
        return data[:LOOKED_AT]
    at = 0
    while at + 16 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        body = at + 8
        if length == 1:
            length, body = int.from_bytes(data[body : body + 8], "big"), body + 8
        if kind in (b"jxlc", b"jxlp"):
            begin = body + 4 * (kind == b"jxlp")  # a counter is before each part
            return data[begin : begin + LOOKED_AT]
        if length < 8:
            break
        at += length
    return b""
