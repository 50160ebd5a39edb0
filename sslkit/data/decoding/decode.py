"""Decoding of image files: upright, in the channels that a source asks for, in the file's own type of pixels."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple, final

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from sslkit.core.pixel_range import PixelRange, to_pixels
from sslkit.data.decoding import deep_formats
from sslkit.data.decoding.image_limits import MOST_METADATA, MOST_PIXELS, metadata_advice, open_image
from sslkit.data.decoding.jpeg_xl import is_deep_jpegxl, read_jpegxl
from sslkit.data.decoding.raw_image import SIDEWAYS, Alpha, Pixels, Raw, Wanted, select, turned, unread
from sslkit.data.decoding.tiff_pixels import MAGIC, WHITE_IS_ZERO, read_tiff, tiff_size
from sslkit.errors import DataError
from sslkit.specs.pixel_fields import PixelFields

MODES = {1: "L", 3: "RGB"}
_BITS, _PHOTOMETRIC, _SAMPLES, _FORMAT = 258, 262, 277, 339
"""Tags of TIFF."""
_BY_PIL = frozenset({3, 5, 6, 8})
"""Palettes, inks, YCbCr and Lab of 8 bits, which PIL brings to color: values of PhotometricInterpretation."""
_NUMBERS = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
"""Modes of more than 8 bits."""


class Read(NamedTuple):
    """The channels that were asked for, before a range is applied."""

    pixels: Pixels
    """`[C, H, W]` of the file's own type."""
    high: float | None = None
    """What stands for white, where that is less than the type's highest value."""
    inverted: bool = False
    """Whether low values are bright."""
    unread: str = ""
    """What the file holds besides, and which field reads it."""
    ordinary: bool = False
    """Whether it is 8-bit gray or color as PIL decoded it."""


@final
class Decoder(NamedTuple):
    """How a source reads its images."""

    channels: int
    """1 or 3: gray or color. Others: as many samples or pages as the file must have, or `bands`."""
    convert: bool = True
    """Bring gray, palette, alpha and CMYK images to `channels`; otherwise they are errors."""
    max_pixels: int = MOST_PIXELS
    """Pixels of an image at most."""
    max_metadata: int = MOST_METADATA
    """Bytes of a text chunk or color profile of a PNG at most."""
    bands: tuple[int | str, ...] = ()
    """These planes of the file, by place from 0 or by name."""
    alpha: Alpha = "drop"
    shrink: int | None = None
    """Decode JPEG at 1/2, 1/4 or 1/8 of its size where both sides keep so many pixels."""
    pixel_range: PixelRange | None = None
    """What becomes 0 and 1; without one the type of the pixels says it."""
    deep: bool = False
    """Whether images of other types than uint8 were seen: they had other values in fingerprints of old."""

    @property
    def wanted(self) -> Wanted:
        """The channels."""
        return Wanted(self.channels, self.convert, self.bands, self.alpha)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the channels, where bands are asked for."""
        return tuple(str(band) if band == str(band) else f"band {band}" for band in self.bands)

    def settings(self) -> tuple[object, ...]:
        """What changes the values of images, for a fingerprint; empty where that are the defaults."""
        values = self._asdict()
        names = ("bands", "alpha", "shrink", "pixel_range", "deep")
        return tuple((name, values[name]) for name in names if values[name] != self._field_defaults[name])

    def __call__(self, data: bytes, name: str) -> Tensor:
        """The image in `data`, `[C, H, W]`, turned by its EXIF orientation.

        8-bit images are uint8. Other types stay what they are where they are uint16 or int16, and become float32 in
        [0, 1] by `pixel_range`, or else by their type. Gray is copied to three channels or computed from them as
        ITU-R 601 luma. Of several frames or pages the first counts, unless `channels` or `bands` ask for more.

        Raises:
            DataError: `data` is no image, is damaged, is too large, or has other channels.
        """
        read = self.read(data, name)
        if read.ordinary:
            return torch.from_numpy(read.pixels)
        pixel_range = self.pixel_range
        if pixel_range is None and read.high is not None:
            pixel_range = PixelRange((0.0,), (read.high,))
        if pixel_range is None and read.inverted and read.pixels.dtype.kind in "iu":
            return to_pixels(np.invert(read.pixels), None)
        images = to_pixels(read.pixels, pixel_range)
        return 1 - images if read.inverted else images

    def read(self, data: bytes, name: str) -> Read:
        """The channels that are wanted of the image in `data`, as the file has them.

        Raises:
            DataError: as for a call.
        """
        options = (name, self.max_pixels, self.max_metadata)
        with _reasons(data, name):
            if data[:4] not in MAGIC:
                with open_image(io.BytesIO(data), *options) as image:
                    return self._by_pil(image, data, name)
            with suppress(UnidentifiedImageError), open_image(io.BytesIO(data), *options) as image:
                if self._is_for_pil(image):
                    return self._by_pil(image, data, name)
            return self._selected(read_tiff(data, name, self.wanted.whole, self.max_pixels), name)

    def _by_pil(self, image: Image.Image, data: bytes, name: str) -> Read:
        """What PIL opened as `image`, unless it would keep 8 bits of more."""
        if image.format == "JXL" and is_deep_jpegxl(data):
            return self._selected(read_jpegxl(data), name)
        if raw := self._deep(image, data, name):
            if deep_formats.may_be_turned(data):
                raw = raw._replace(pixels=turned(raw.pixels, _orientation(image)))
            return self._selected(raw, name)
        lost = deep_formats.lost_bits(image.format, data)
        if self.shrink:
            image.draft(None, (self.shrink, self.shrink))
        image.load()
        image = _upright(image)
        if self.wanted.plain and image.mode not in _NUMBERS:
            array = np.array(self._in_mode(image, name))
            pixels = array.reshape(*array.shape[:2], -1).transpose(2, 0, 1)
            return Read(pixels, ordinary=self.pixel_range is None)
        read = self._selected(_raw(image), name)
        return read._replace(unread="; ".join(filter(None, (lost, read.unread))))

    def look(self, data: bytes, name: str) -> Read | None:
        """As `read`, but of ordinary 8-bit images only what their header tells; None where that is all of it."""
        if self._is_by_tags(data, name):
            return self.read(data, name)
        with (
            _reasons(data, name),
            open_image(io.BytesIO(data), name, self.max_pixels, self.max_metadata) as image,
        ):
            plain = self.wanted.plain and image.mode not in _NUMBERS
            if plain and not _is_deep(data, image):
                lost = deep_formats.lost_bits(image.format, data)
                text = "; ".join(filter(None, (lost, _unread_by_pil(image))))
                return Read(np.zeros((0, 0, 0), np.uint8), unread=text) if text else None
        return self.read(data, name)

    def size(self, data: bytes, name: str) -> tuple[int, int]:
        """Height and width of the upright image in `data`, whose pixels are not decoded; `shrink` does not count.

        Raises:
            DataError: as for a call, as far as the header tells.
        """
        with _reasons(data, name):
            if self._is_by_tags(data, name):
                return tiff_size(data)
            with open_image(io.BytesIO(data), name, self.max_pixels, self.max_metadata) as image:
                width, height = image.size
                turns = deep_formats.may_be_turned(data) and _orientation(image) in SIDEWAYS
                return (width, height) if turns else (height, width)

    def _selected(self, raw: Raw, name: str) -> Read:
        return Read(select(raw, self.wanted, name), raw.high, raw.inverted, unread(raw, self.wanted))

    def _is_by_tags(self, data: bytes, name: str) -> bool:
        """Whether `data` is a TIFF file that PIL does not read rightly."""
        if data[:4] not in MAGIC:
            return False
        with (
            suppress(UnidentifiedImageError),
            open_image(io.BytesIO(data), name, self.max_pixels, self.max_metadata) as image,
        ):
            return not self._is_for_pil(image)
        return True

    def _is_for_pil(self, image: Image.Image) -> bool:
        """Whether PIL reads this TIFF file rightly: 8-bit gray and color, and what it converts to them."""
        tags = getattr(image, "tag_v2", {})
        bits, formats = tags.get(_BITS, (1,)), tags.get(_FORMAT, (1,))
        photometric = tags.get(_PHOTOMETRIC, 1)
        if max(bits) > 8 or set(formats) != {1}:
            return False
        untouched = self.pixel_range is None or photometric != WHITE_IS_ZERO
        return (self.wanted.plain and untouched) or max(bits) < 8 or photometric in _BY_PIL

    def _deep(self, image: Image.Image, data: bytes, name: str) -> Raw | None:
        """What PIL would keep 8 bits of."""
        if deep_formats.is_deep_png(data):
            return deep_formats.read_png(data)
        if deep_formats.is_deep_pnm(data):
            return deep_formats.read_pnm(data, name)
        if image.format == "JPEG2000" and deep_formats.deep_jpeg2000(data):
            return deep_formats.read_jpeg2000(data, name, self.max_pixels)
        return None

    def _in_mode(self, image: Image.Image, name: str) -> Image.Image:
        mode = MODES[self.channels]
        if image.mode == mode:
            return image
        if not self.convert:
            raise DataError(
                f"{name}: is a {image.mode} image where {mode} was expected (channels: {self.channels}); "
                "set `convert: true`, or convert the file"
            )
        if image.mode == "P" and "transparency" in image.info:
            image = image.convert("RGBA")
        return image.convert(mode)


def decoder_of(spec: PixelFields) -> Decoder:
    """The decoder that the fields ask for, its range still open."""
    return Decoder(
        channels=spec.channels,
        convert=spec.convert,
        max_pixels=spec.max_pixels,
        max_metadata=spec.max_metadata,
        bands=spec.bands or (),
        alpha=spec.alpha,
        shrink=spec.shrink,
    )


def _is_deep(data: bytes, image: Image.Image) -> bool:
    if deep_formats.is_deep_png(data) or deep_formats.is_deep_pnm(data):
        return True
    if image.format == "JXL":
        return is_deep_jpegxl(data)
    return image.format == "JPEG2000" and bool(deep_formats.deep_jpeg2000(data))


def _raw(image: Image.Image) -> Raw:
    """What PIL decoded, brought to gray or color, with alpha where it has one."""
    mode = image.mode
    if mode in _NUMBERS:
        return Raw(_planes(np.array(image)), 1)
    if mode == "P":
        mode = "RGBA" if "transparency" in image.info else "RGB"
    mode = {"1": "L", "PA": "RGBA", "La": "LA", "RGBa": "RGBA"}.get(mode, mode)
    if mode not in ("L", "LA", "RGB", "RGBA"):
        mode = "RGB"
    pixels = _planes(np.array(image if image.mode == mode else image.convert(mode)))
    colors = len(mode.rstrip("A"))
    return Raw(pixels, colors, colors if mode.endswith("A") else None)


def _planes(array: Pixels) -> Pixels:
    """`[H, W]` or `[H, W, C]` as `[C, H, W]`; channels lie side by side in memory, as decoders leave them."""
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    return native.reshape(*array.shape[:2], -1).transpose(2, 0, 1)


def _unread_by_pil(image: Image.Image) -> str:
    """What lies beside the first gray or color picture of a file that is read by PIL."""
    alpha = image.mode in ("LA", "RGBA", "PA", "La", "RGBa")
    samples = getattr(image, "tag_v2", {}).get(_SAMPLES, len(image.getbands()))
    colors = len(image.getbands()) - alpha
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # MPO: small pictures of the same
    if frames > 1 and image.format != "TIFF":
        return f"has {frames} frames, of which the first is read; write the others to files of their own"
    raw = Raw(np.zeros((colors, 0, 0), np.uint8), colors, colors if alpha else None, False, samples, frames)
    return unread(raw, Wanted(1))


def _orientation(image: Image.Image) -> int:
    with suppress(Exception):  # damaged EXIF beside good pixels is ignored
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    return 1


def _upright(image: Image.Image) -> Image.Image:
    """`image` turned by its EXIF orientation; damaged EXIF beside good pixels is ignored."""
    with suppress(
        Exception
    ):  # the pixels are decoded already: only the parser of the EXIF block can fail here
        ImageOps.exif_transpose(image, in_place=True)  # otherwise it would copy images that stand upright
    return image


@contextmanager
def _reasons(data: bytes, name: str) -> Iterator[None]:
    """Whatever a decoder raises becomes a DataError that names the file."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # decoders raise whatever their format's parser meets
        raise DataError(f"{name}: cannot be decoded: {_reason(error, data)}") from None


def _reason(error: Exception, data: bytes) -> str:
    if not data:
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        return "it is not an image in a known format"
    text = str(error) or type(error).__name__
    return metadata_advice(text) or text
