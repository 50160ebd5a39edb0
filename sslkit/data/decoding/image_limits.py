"""What an image file may cost: its header is read, and refused past a limit, before anything is decoded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import Image, PngImagePlugin

from sslkit.errors import DataError
from sslkit.files.image_endings import register_plugins

MOST_PIXELS = 89_478_485
"""Pixels past which PIL warns of an image that is small as a file and large in memory, 256 MiB of color."""
MOST_METADATA = 1 << 20
"""Bytes of a text chunk or color profile of a PNG that PIL unpacks."""
_TEXTS = 64
"""Times that limit, what PIL unpacks of all text chunks together."""


@contextmanager
def open_image(
    file: BinaryIO | Path, name: str, max_pixels: int, max_metadata: int = MOST_METADATA
) -> Iterator[Image.Image]:
    """The image in `file`, whose header is read and whose pixels are not decoded yet.

    Raises:
        DataError: the header tells of more than `max_pixels` pixels.
    """
    register_plugins()
    _raise_limits(max_pixels, max_metadata)
    try:
        image = Image.open(file)
    except (
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:  # far past, or a strict filter
        raise too_large(name, re.sub(r"\D*(\d+).*", r"\1", str(error)), max_pixels) from None
    with image:
        width, height = image.size
        require_pixels(width, height, 1, name, max_pixels)
        yield image


def require_pixels(width: int, height: int, samples: int, name: str, max_pixels: int) -> None:
    """Pass where an image is within its limit, which is meant for up to four values a pixel.

    Raises:
        DataError: it is not.
    """
    if width * height * max(1, samples / 4) > max_pixels:
        many = f" with {samples:,} values each" if samples > 4 else ""
        raise too_large(name, f"{width:,} x {height:,}", max_pixels, many)


def too_large(name: str, pixels: str, max_pixels: int, many: str = "") -> DataError:
    """The error that names the field."""
    return DataError(
        f"{name}: has {pixels} pixels{many}, more than max_pixels={max_pixels:,}; make it smaller, or raise the field "
        "`max_pixels` of these data"
    )


def metadata_advice(reason: str) -> str:
    """What to do where PIL stopped at a text chunk or color profile; empty for other reasons."""
    if "MAX_TEXT" not in reason and "Decompressed data too large" not in reason:
        return ""
    return "its text or color profile is larger than `max_metadata` of these data; raise that field, or strip the file"


def _raise_limits(max_pixels: int, max_metadata: int) -> None:
    """PIL has one limit for the process: the highest that any source asks for."""
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels
    if max_metadata > PngImagePlugin.MAX_TEXT_CHUNK:
        PngImagePlugin.MAX_TEXT_CHUNK = max_metadata
        PngImagePlugin.MAX_TEXT_MEMORY = _TEXTS * max_metadata
