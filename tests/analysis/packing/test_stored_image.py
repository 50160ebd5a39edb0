"""Images as the bytes of a file."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from sslkit.analysis.packing.stored_image import stored_image
from sslkit.core.source import Source
from sslkit.errors import DataError
from tests.fakes_train import MadeSource, pictures


def file_of(kind, **options):
    file = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(file, kind, **options)
    return file.getvalue()


class Encoded(Source):
    """One image, encoded."""

    channels, labels, classes = 3, None, ()

    def __init__(self, content, name):
        self.content, self.its_name = content, name

    def __len__(self):
        return 1

    def load(self, index):
        raise AssertionError("is copied, not decoded")

    def encoded(self, index):
        return self.content, self.its_name


@pytest.mark.parametrize(
    ("kind", "name", "ending"),
    [
        ("jpeg", "a/b.JPEG", "jpeg"),
        ("jpeg", "row 3", "jpg"),
        ("png", "row 3", "png"),
        ("webp", "x.unknown", "webp"),
        ("tiff", "row 3", "tif"),
        ("jpeg", "wrong.png", "png"),
    ],
)
def test_files_are_copied_byte_for_byte(kind, name, ending):
    content = file_of(kind)
    assert stored_image(Encoded(content, name), 0) == (content, ending)


def test_what_is_no_image_is_packed_as_it_is():
    assert stored_image(Encoded(b"broken", "row 3"), 0) == (b"broken", "jpg")


@pytest.mark.parametrize("channels", [1, 3])
def test_images_that_are_no_files_become_png_without_loss(channels):
    source = MadeSource(pictures(2, channels))
    content, ending = stored_image(source, 1)
    with Image.open(io.BytesIO(content)) as image:
        pixels = torch.from_numpy(np.array(image)).reshape(*image.size[::-1], channels).permute(2, 0, 1)
    assert ending == "png"
    assert torch.equal(pixels, source.load(1))


def test_pixels_that_a_png_does_not_hold_are_refused():
    source = MadeSource(pictures(1, 5))
    with pytest.raises(DataError, match=re.escape("5 channels of torch.uint8; only 8-bit gray and color")):
        stored_image(source, 0)
