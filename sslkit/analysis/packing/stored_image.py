"""An image of a source as the bytes of a file, as they are stored wherever there are such."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import PurePath
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from sslkit.core.source import Source
from sslkit.errors import DataError
from sslkit.files.image_endings import readable_endings, register_plugins

ENDINGS: Mapping[str, str] = {"JPEG": "jpg", "MPO": "jpg", "JPEG2000": "jp2", "TIFF": "tif"}
"""Format of PIL -> its usual ending, where that is not its name."""
UNKNOWN = "jpg"
"""Of what is no image in a known format: it is to be unreadable, not left out."""
CHANNELS = (1, 3)
"""That a PNG of bytes can have here."""


class StoredImage(NamedTuple):
    """What a member of a shard holds."""

    content: bytes
    ending: str
    """Without a dot."""


def stored_image(source: Source, index: int) -> StoredImage:
    """Image `index`: its file, byte for byte, or else its pixels as PNG, without loss.

    Raises:
        DataError: it cannot be read; or has no file, and is not of 8-bit gray or color.
    """
    encoded = source.encoded(index)
    if encoded is not None:
        content, name = encoded
        return StoredImage(content, _ending(content, name))
    return StoredImage(_png(source.load(index), source.name(index)), "png")


def _ending(content: bytes, name: str) -> str:
    """By name, or else by what the content begins with."""
    suffix = PurePath(name).suffix.lower()
    if suffix in readable_endings():
        return suffix[1:]
    register_plugins()
    try:
        with Image.open(io.BytesIO(content)) as image:
            kind = image.format or ""
    except (
        Exception
    ):  # decoders raise whatever their format's parser meets; training tells which images are unreadable
        return UNKNOWN
    return ENDINGS.get(kind, kind.lower())


def _png(image: Tensor, name: str) -> bytes:
    if image.dtype != torch.uint8 or len(image) not in CHANNELS:
        raise DataError(
            f"{name}: is no file, and has {len(image)} channels of {image.dtype}; only 8-bit gray and color can be "
            "written as PNG"
        )
    pixels = image[0] if len(image) == 1 else image.permute(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(pixels.contiguous().numpy()).save(file, "png", compress_level=6)
    return file.getvalue()
