"""Decoding as a plugin uses it: by the doors alone."""

from __future__ import annotations

import io
import warnings
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image

from sslkit.interfaces import Decoder, decoder_of, open_image, settled_decoder
from sslkit.plugin import (
    Alpha,
    Bands,
    DataError,
    Range,
    SourceSpec,
    SslkitWarning,
    readable_endings,
    require_fitting,
)


class Stored(SourceSpec):
    """A source of images that somebody else holds, with the fields of those of files."""

    kind: Literal["stored"] = "stored"
    channels: int = 3
    convert: bool = True
    bands: Bands | None = None
    alpha: Alpha = "drop"
    range: Range = "auto"
    shrink: int | None = None
    max_pixels: int = 100
    max_metadata: int = 1000

    def build(self, split):
        return None


class Images:
    """Encoded ones, in memory."""

    def __init__(self, *images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def encoded(self, index):
        return self.images[index], f"image {index}"


def stored(array, ending="png"):
    file = io.BytesIO()
    Image.fromarray(array).save(file, ending)
    return file.getvalue()


COLOR = stored(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
DEEP = stored(np.arange(16, dtype=np.uint16).reshape(4, 4) * 4095)


def test_a_decoder_has_the_fields_of_its_spec():
    decoder = decoder_of(Stored(channels=1, shrink=2))
    assert decoder == Decoder(channels=1, max_pixels=100, max_metadata=1000, shrink=2)
    assert decoder_of(Stored())(COLOR, "x").shape == (3, 4, 4)
    assert decoder(COLOR, "x").dtype == torch.uint8


def test_its_range_is_settled_by_the_first_images():
    decoder = settled_decoder(
        decoder_of(Stored(channels=1, range=(0, 61425))), (0, 61425), Images(DEEP), lambda: Images(DEEP)
    )
    image = decoder(DEEP, "x")
    assert (image.dtype, float(image.min()), float(image.max())) == (torch.float32, 0.0, 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SslkitWarning)
        assert (
            settled_decoder(decoder_of(Stored()), "auto", Images(COLOR), lambda: Images(COLOR)).deep is False
        )


def test_limits_and_misfits_are_told():
    large = stored(np.zeros((20, 20), np.uint8))
    with pytest.raises(DataError, match=r"large: .*max_pixels"):
        decoder_of(Stored())(large, "large")
    with pytest.raises(DataError, match="max_pixels"), open_image(io.BytesIO(large), "large", 100):
        pass
    with open_image(io.BytesIO(COLOR), "small", 100) as image:
        assert image.size == (4, 4)
    with pytest.raises(ValueError, match="`bands` names 2 but channels is 3"):
        require_fitting(Stored(bands=(0, 1)))


def test_endings_that_can_be_read_are_known_without_torch():
    assert {".jpg", ".png", ".webp", ".tif"} <= set(readable_endings())
    assert all(ending.startswith(".") and ending == ending.lower() for ending in readable_endings())
