"""The first image in words."""

from __future__ import annotations

import pytest
import torch

from sslkit.analysis.image_data.first_image import first_image_lines
from sslkit.build.system import make_views
from tests.analysis.image_data.samples import fields
from tests.fakes_train import MadeSource

VIEWS = {
    "global": {"size": 8, "crops": 2, "normalize": {"mean": [0.5], "std": [0.25]}},
    "local": {"size": 4, "normalize": {"mean": [0.25], "std": [0.5]}},
}


def lines(source):
    spec = fields(".", data={"kind": "digits"}, views=VIEWS)
    return list(first_image_lines(spec, source, make_views(spec, 1)))


@pytest.mark.parametrize(
    ("dtype", "low", "high", "said"),
    [
        (torch.uint8, 0, 255, "uint8, 0 to 255"),
        (torch.uint16, 0, 65535, "uint16, 0 to 65535"),
        (torch.int16, -32768, 32767, "int16, -32768 to 32767"),
        (torch.float32, 0.0, 1.0, "float32, 0 to 1"),
    ],
)
def test_it_is_named_with_its_type_and_range_and_what_becomes_of_it(dtype, low, high, said):
    image = torch.full((1, 1, 8, 8), low, dtype=dtype)
    image[..., 4:] = high
    assert lines(MadeSource(image)) == [
        f"first image 0: 8 x 8, 1 channel of {said}",
        "  becomes   global 2 x 8 x 8, 1 channel of float32, less [0.5] by [0.25]: -2 to 2",
        "  becomes   local 1 x 4 x 4, 1 channel of float32, less [0.25] by [0.5]: -0.5 to 1.5",
    ]


def test_the_next_one_stands_for_an_image_that_cannot_be_read():
    source = MadeSource(torch.zeros(3, 1, 8, 8, dtype=torch.uint8), broken=frozenset({0, 1}))
    assert lines(source)[0] == "first image 2: 8 x 8, 1 channel of uint8, 0 to 0"


def test_where_none_can_be_read_that_is_a_line_and_no_error():
    source = MadeSource(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), broken=frozenset({0, 1}))
    assert lines(source) == [
        "first image cannot be read: 2 images in a row cannot be read; the first: image 0 is broken"
    ]
