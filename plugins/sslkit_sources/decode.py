"""Decoding of image files: every mode that PIL reads, upright, in a fixed number of channels."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple, final

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from sslkit.plugin import DataError

MOST_PIXELS = 89_478_485
"""Pixels past which PIL warns of an image that is small as a file and large in memory, 256 MiB of color."""
MODES = {1: "L", 3: "RGB"}
_DEEP = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})


@final
class Decoder(NamedTuple):
    """How a source reads its images."""

    channels: int
    """1 or 3."""
    convert: bool = True
    """Bring other modes to `channels`; otherwise they are errors."""
    max_pixels: int = MOST_PIXELS
    """Pixels of an image at most."""

    def __call__(self, data: bytes, name: str) -> Tensor:
        """The image in `data`, `[C, H, W]` uint8, turned by its EXIF orientation.

        Gray is copied to three channels or computed from them as ITU-R 601 luma; alpha is dropped, as in
        torchvision's `ImageFolder`; 16-bit gray keeps its upper 8 bits' scale (65535 becomes 255). Of several
        frames the first counts. Channels lie side by side in memory, as decoders leave them.

        Raises:
            DataError: `data` is no image, is damaged, is too large, or has a mode that may not be converted.
        """
        try:
            with opened(io.BytesIO(data), name, self.max_pixels) as image:
                image.load()
                array = np.array(self._in_mode(_upright(image), name))
        except DataError:
            raise
        except Exception as error:  # decoders raise whatever their format's parser meets
            raise DataError(f"{name}: cannot be decoded: {_reason(error, data)}") from None
        return torch.from_numpy(array.reshape(*array.shape[:2], -1)).permute(2, 0, 1)

    def _in_mode(self, image: Image.Image, name: str) -> Image.Image:
        wanted = MODES[self.channels]
        if image.mode == wanted:
            return image
        if not self.convert:
            raise DataError(
                f"{name}: is a {image.mode} image where {wanted} was expected (channels: {self.channels}); "
                "set `convert: true`, or convert the file"
            )
        if image.mode in _DEEP:
            image = _eight_bits(image, name)
        elif image.mode == "P" and "transparency" in image.info:
            image = image.convert("RGBA")
        return image.convert(wanted)


@contextmanager
def opened(file: BinaryIO | Path, name: str, max_pixels: int) -> Iterator[Image.Image]:
    """The image in `file`, whose header is read and whose pixels are not decoded yet.

    Raises:
        DataError: the header tells of more than `max_pixels` pixels.
    """
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels  # PIL has one limit for the process
    try:
        image = Image.open(file)
    except (
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:  # far past, or a strict filter
        raise _too_large(name, re.sub(r"\D*(\d+).*", r"\1", str(error)), max_pixels) from None
    with image:
        width, height = image.size
        if width * height > max_pixels:
            raise _too_large(name, f"{width:,} x {height:,}", max_pixels)
        yield image


def _too_large(name: str, pixels: str, max_pixels: int) -> DataError:
    return DataError(
        f"{name}: has {pixels} pixels, more than max_pixels={max_pixels:,}; make it smaller, or raise the field "
        "`max_pixels` of these data"
    )


def _upright(image: Image.Image) -> Image.Image:
    """`image` turned by its EXIF orientation; damaged EXIF beside good pixels is ignored."""
    with suppress(
        Exception
    ):  # the pixels are decoded already: only the parser of the EXIF block can fail here
        ImageOps.exif_transpose(image, in_place=True)  # otherwise it would copy images that stand upright
    return image


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    """16-bit gray as 8 bits; PIL's own conversion cuts everything above 255."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise DataError(
            f"{name}: is a 32-bit integer image with values outside 0 to 65535; convert it to 8 or 16 bits"
        )
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _reason(error: Exception, data: bytes) -> str:
    if not data:
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        return "it is not an image in a known format"
    return str(error) or type(error).__name__
