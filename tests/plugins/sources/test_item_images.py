"""Images and labels in the items of datasets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sslkit.errors import DataError
from sslkit_sources.item_images import Keys, label_of, parts_of, raw_pixels
from tests.plugins.sources.python_sets import PIXELS, chw, pil

WANTED = PIXELS[3].transpose(2, 0, 1)


def test_values_are_as_they_are():
    for image in (pil(3), chw(3), PIXELS[3]):
        assert (raw_pixels(image) == WANTED).all()


def test_the_other_order_of_axes_is_read_where_no_image_could_have_this_one():
    wide = np.zeros((40, 50, 3), np.uint8)
    assert raw_pixels(torch.from_numpy(wide)).shape == (3, 40, 50)
    assert raw_pixels(wide.transpose(2, 0, 1)).shape == (3, 40, 50)
    assert raw_pixels(torch.zeros(5, 40, 50)).shape == (5, 40, 50)
    assert raw_pixels(np.zeros((3, 4, 1))).shape == (1, 3, 4)


def test_two_axes_are_gray():
    assert raw_pixels(np.zeros((5, 6), np.uint16)).shape == (1, 5, 6)
    assert raw_pixels(torch.zeros(5, 6)).dtype == np.float32


@pytest.mark.parametrize(
    ("mode", "channels", "dtype"),
    [("L", 1, "uint8"), ("RGB", 3, "uint8"), ("RGBA", 3, "uint8"), ("P", 3, "uint8"), ("1", 1, "uint8"),
     ("LA", 1, "uint8"), ("CMYK", 3, "uint8"), ("I", 1, "int32"), ("F", 1, "float32")],
)  # fmt: skip
def test_modes_of_pil(mode, channels, dtype):
    pixels = raw_pixels(pil(0, mode))
    assert pixels.shape == (channels, 8, 8)
    assert pixels.dtype.name == dtype


def test_gray_and_color_become_one_another():
    assert raw_pixels(pil(0, "L"), 3).shape == (3, 8, 8)
    assert raw_pixels(pil(0), 1).shape == (1, 8, 8)
    assert raw_pixels(pil(0), 4).shape == (3, 8, 8)  # which the source refuses


def test_bfloat16_is_read_as_float():
    assert raw_pixels(torch.zeros(3, 8, 8, dtype=torch.bfloat16)).dtype == np.float32


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ([chw(0), chw(1)], "an image is a list of 2: the crops of a view are made by the run"),
        ("cat.png", "an image is a str; expected a PIL image, a tensor or an array"),
        (torch.zeros(2, 3, 8, 8), r"an image has the shape \[2, 3, 8, 8\]; expected \[C, H, W\]"),
        (np.zeros((0, 8, 3)), "an image has the shape"),
    ],
)
def test_what_is_no_image(image, message):
    with pytest.raises(DataError, match=message):
        raw_pixels(image)


@pytest.mark.parametrize(
    ("item", "label"),
    [
        (chw(0), None),
        ((chw(0), 3), 3),
        ([chw(0), 3, "more"], 3),
        ((chw(0),), None),
        ({"image": chw(0), "label": 2}, 2),
        ({"label": 1, "img": chw(0), "other": 5}, 1),
        ({"pixel_values": chw(0)}, None),
        ({"image": chw(0), "target": "cat"}, "cat"),
    ],
)
def test_parts_of_an_item(item, label):
    image, found = parts_of(item, Keys())
    assert torch.equal(image, chw(0))
    assert found == label


def test_keys_say_where_the_parts_are():
    assert parts_of({"photo": "here", "image": "no", "kind": 4}, Keys("photo", "kind")) == ("here", 4)
    assert parts_of((4, "here"), Keys(1, 0)) == ("here", 4)


def test_an_item_without_an_image_says_what_it_has():
    with pytest.raises(
        DataError, match=r"an item has no 'image' or 'img' .*but 'photo', 'kind'; name what is"
    ):
        parts_of({"photo": 1, "kind": 2}, Keys())
    with pytest.raises(DataError, match="an item has no 'foto', but 'photo'"):
        parts_of({"photo": 1}, Keys("foto"))
    with pytest.raises(DataError, match="an item has no 'kind', but 'image'"):
        parts_of({"image": 1}, Keys(label="kind"))


@pytest.mark.parametrize(
    ("value", "label"),
    [(3, 3), ("cat", "cat"), (True, 1), (np.int64(4), 4), (torch.tensor(5), 5), (np.array([6]), 6), (None, None),
     (torch.zeros(3), None), ({"boxes": 1}, None), (0.5, None)],
)  # fmt: skip
def test_labels(value, label):
    assert label_of(value) == label
