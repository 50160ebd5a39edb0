"""Float crops as sums of rows, against torch's own antialiased mode in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sslkit.functional.resize import Box
from sslkit.functional.resize_floats import STEP, resize_floats, widened

ROUNDING = 1e-6
CASES = {
    "smaller": (Box(3, 5, 277, 190), 224),
    "much smaller": (Box(0, 0, 300, 290), 32),
    "larger": (Box(11, 250, 40, 50), 96),
    "larger one way": (Box(0, 1, 90, 290), 128),
    "as it is": (Box(20, 30, 64, 64), 64),
    "one pixel": (Box(299, 299, 1, 1), 8),
    "to one pixel": (Box(7, 8, 200, 100), 1),
    "to the edges": (Box(0, 0, 300, 300), 96),
}


def image(channels, seed=0):
    return torch.rand(channels, 300, 300, generator=torch.Generator().manual_seed(seed))


def reference(image, box, size, mode):
    crop = box.of(image[None]).double()
    return F.interpolate(crop, (size, size), mode=mode, align_corners=False, antialias=True)[0]


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_crops_are_torchs_in_float64_to_a_rounding(case, mode):
    box, size = case
    x = image(3)
    difference = resize_floats(x, box, size, mode) - reference(x, box, size, mode)
    assert difference.abs().max() < ROUNDING


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 13])
def test_the_layout_in_memory_changes_no_bit(channels):
    box, size = CASES["smaller"]
    planar = image(channels)
    interleaved = planar.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert channels == 1 or planar.stride() != interleaved.stride()
    result = resize_floats(planar, box, size, "bicubic")
    assert torch.equal(result, resize_floats(interleaved, box, size, "bicubic"))
    assert (result - reference(planar, box, size, "bicubic")).abs().max() < ROUNDING


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_columns_beside_the_box_change_nothing(case):
    box, size = case
    x = image(3)
    near = widened(box, 300)
    inside = box._replace(top=0, left=box.left - near.left)
    difference = resize_floats(near.of(x), inside, size, "bicubic") - reference(x, box, size, "bicubic")
    assert difference.abs().max() < ROUNDING


@pytest.mark.parametrize("width", [1, 31, 32, 33, 100, 300])
def test_a_widened_box_holds_the_box_and_lies_in_the_image(width):
    for left in range(0, 300 - width + 1, 7):
        box = Box(1, left, 10, width)
        near = widened(box, 300)
        assert 0 <= near.left <= left
        assert left + width <= near.left + near.width <= 300
        assert near.width % STEP == 0 or near.width == 300
        assert (near.top, near.height) == (1, 10)


def test_kept_weights_serve_any_later_crop():
    """What is kept between crops is never changed."""
    box, size = CASES["larger"]
    x = image(3)
    first = resize_floats(x, box, size, "bicubic")
    resize_floats(image(5, seed=1), box, size, "bicubic").zero_()
    assert torch.equal(first, resize_floats(x, box, size, "bicubic"))
