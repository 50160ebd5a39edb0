"""Images of a type that no source may give would be wrapped or taken for black; every way in refuses them by name."""

from __future__ import annotations

import pytest
import torch

from sslkit.core.source import pixels
from sslkit.core.view import View
from sslkit.data.resident import resident
from sslkit.data.unreadable import readable
from sslkit.errors import DataError
from sslkit.evaluate.features import _Centers
from tests import tiny
from tests.fakes_train import MadeSource, pictures

TYPES = (torch.float64, torch.float16, torch.uint32, torch.int32, torch.int8, torch.bool)


def source_of(dtype, *, held):
    """Random images in another type, in memory or one by one."""
    source = MadeSource(pictures(4).to(dtype))
    if held:
        source.resident = lambda: source.images
    return source


def unexpected(index, reason):
    raise AssertionError(reason)


@pytest.mark.parametrize("dtype", TYPES)
def test_training_refuses_other_types_in_memory_and_from_workers(dtype):
    message = (
        rf"gives images as uint8, uint16, int16 or float32 \(0 to 1\), \[\d, H, W\], but this is {dtype}"
    )
    with pytest.raises(DataError, match=message):
        resident(source_of(dtype, held=True), 1 << 30, tiny.CPU.device, 0, unexpected)
    with pytest.raises(DataError, match=message):
        readable(source_of(dtype, held=False), 0)
    with pytest.raises(DataError, match=message):
        resident(source_of(dtype, held=False), 1 << 30, tiny.CPU.device, 0, unexpected)


@pytest.mark.parametrize("dtype", TYPES)
def test_evaluation_refuses_other_types(dtype):
    view = View(8, 1, 1, (0.3,), (0.4,))
    centers = _Centers(source_of(dtype, held=False), view, 1.0, torch.arange(4))
    place, decoded = centers[1]
    assert (place, decoded.image) == (1, None)
    assert f"but this is {dtype}" in decoded.reason
    assert _Centers(MadeSource(pictures(4)), view, 1.0, torch.arange(4))[1][1].image is not None


def test_the_message_says_what_to_do():
    with pytest.raises(DataError, match=r"torch.int32 \(1, 2, 2\); `to_pixels` of sslkit.interfaces brings"):
        pixels(torch.zeros(1, 2, 2, dtype=torch.int32), 1)
    with pytest.raises(DataError, match=r"\[3, H, W\], but this is torch.uint8 \(1, 2, 2\)$"):
        pixels(torch.zeros(1, 2, 2, dtype=torch.uint8), 3)


@pytest.mark.parametrize("value", [1.1, -0.1, float("nan"), float("inf")])
def test_floats_of_another_range_are_refused_by_both_ways_in(value):
    images = torch.full((4, 1, 2, 2), 0.5)
    images[2, 0, 1, 1] = value
    source, message = MadeSource(images), rf"but this has values from .*{'nan' if value != value else value}"
    with pytest.raises(DataError, match=message):
        pixels(source.load(2), 1)
    assert readable(source, 2)[1][0][0] == 2, "left out and told, as other damaged images"
    source.resident = lambda: images
    with pytest.raises(DataError, match=message):
        resident(source, 1 << 30, tiny.CPU.device, 0, unexpected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int16, torch.float32])
def test_what_sources_may_give_is_passed_on(dtype):
    images = torch.zeros(5, 3, 2, 2).to(dtype)
    assert pixels(images, 3) is images
