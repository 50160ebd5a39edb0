import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.v2.functional as V
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import InterpolationMode

from sslkit.functional.resize import (
    DENSE_SIDE,
    Box,
    center_crop_box,
    enlarged,
    nearest_center,
    resize_center,
    resize_crop,
)

MODES = {"bicubic": InterpolationMode.BICUBIC, "bilinear": InterpolationMode.BILINEAR}


def images(count: int, channels: int, height: int, width: int) -> torch.Tensor:
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(3))


def reference(image: torch.Tensor, box: Box, size: tuple[int, int], mode: str) -> torch.Tensor:
    if size[1] == 1 < size[0]:  # torch 2.15 repeats the first row there on a CPU; transposed, it is right
        return reference(image.mT, Box(box.left, box.top, box.width, box.height), size[::-1], mode).mT
    return V.resized_crop(image, *box, list(size), interpolation=MODES[mode], antialias=True)


@st.composite
def crops(draw):
    """Image sides, a box for each of three images, an output size: enlarging, shrinking, one-pixel sides."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    boxes = []
    for _ in range(3):
        h, w = draw(st.integers(1, height)), draw(st.integers(1, width))
        boxes.append(Box(draw(st.integers(0, height - h)), draw(st.integers(0, width - w)), h, w))
    return height, width, boxes, (draw(st.integers(1, 24)), draw(st.integers(1, 24)))


@settings(max_examples=120)
@given(crops(), st.sampled_from(sorted(MODES)), st.sampled_from([1, 3]))
def test_resize_crop_equals_torchvision(case, mode, channels):
    height, width, boxes, size = case
    batch = images(3, channels, height, width)
    made = resize_crop(batch, torch.tensor(boxes), size, mode)
    expected = torch.stack(
        [reference(image, box, size, mode) for image, box in zip(batch, boxes, strict=True)]
    )
    assert made.shape == (3, channels, *size)
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", sorted(MODES))
def test_a_large_image_alone_equals_itself_in_a_batch(mode):
    side = DENSE_SIDE + 30
    batch = images(2, 3, side, side - 50)
    boxes = torch.tensor([[5, 3, 120, 70], [0, 0, side, side - 50]])
    together = resize_crop(batch, boxes, (32, 48), mode)
    alone = torch.cat([resize_crop(batch[i : i + 1], boxes[i : i + 1], (32, 48), mode) for i in range(2)])
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=0)


def test_small_images_alone_are_bit_equal_to_themselves_in_a_batch():
    batch = images(16, 3, 32, 32)
    boxes = torch.tensor([[i % 5, i % 7, 8 + i, 25 - i] for i in range(16)])
    together = resize_crop(batch, boxes, (24, 24))
    alone = torch.cat([resize_crop(batch[i : i + 1], boxes[i : i + 1], (24, 24)) for i in range(16)])
    assert torch.equal(alone, together)


def test_the_whole_image_at_its_own_size_is_unchanged():
    batch = images(2, 3, 17, 23)
    made = resize_crop(batch, torch.tensor([[0, 0, 17, 23]] * 2), (17, 23))
    torch.testing.assert_close(made, batch, atol=1e-6, rtol=0)


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0.01, 1.0))
def test_center_box_is_a_square_inside_the_image_where_torchvision_has_it(height, width, keep):
    box = center_crop_box(height, width, keep)
    assert box.height == box.width == max(1, round(min(height, width) * keep))
    index = torch.arange(height * width).reshape(1, height, width)
    expected = V.center_crop(index, [box.height, box.width])
    cut = index[:, box.top : box.top + box.height, box.left : box.left + box.width]
    assert torch.equal(cut, expected)


def test_resize_center_returns_the_input_where_nothing_is_to_be_done():
    batch = images(2, 1, 8, 8)
    assert resize_center(batch, 8) is batch


@pytest.mark.parametrize(
    ("shape", "size", "crop"),
    [((40, 30), 16, 1.0), ((30, 41), 48, 0.875), ((16, 16), 16, 0.5), ((200, 260), 64, 0.9)],
)
def test_resize_center_equals_cut_then_resize(shape, size, crop):
    batch = images(2, 3, *shape)
    side = round(min(shape) * crop)
    cut = V.center_crop(batch, [side, side])
    expected = V.resize(cut, [size, size], interpolation=InterpolationMode.BICUBIC, antialias=True).clamp(
        0, 1
    )
    torch.testing.assert_close(resize_center(batch, size, crop), expected, atol=1e-5, rtol=0)


def test_resize_center_stays_in_range_where_bicubic_overshoots():
    edge = torch.zeros(1, 1, 8, 8)
    edge[..., 4:] = 1
    plain = resize_crop(edge, torch.tensor([[0, 0, 8, 8]]), (32, 32))
    made = resize_center(edge, 32)
    assert plain.max() > 1.01
    assert plain.min() < -0.01
    assert (made.min(), made.max()) == (0, 1)


@pytest.mark.parametrize(
    ("shape", "size", "crop"),
    [((13, 9), 5, 1.0), ((8, 8), 8, 1.0), ((7, 20), 16, 0.7), ((30, 31), 12, 0.875)],
)
def test_nearest_center_is_the_cut_of_resize_center_by_nearest_pixels(shape, size, crop):
    labels = torch.randint(0, 256, (2, *shape), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    box = center_crop_box(*shape, crop)
    cut = labels[:, box.top : box.top + box.height, box.left : box.left + box.width]
    expected = F.interpolate(cut[:, None].float(), (size, size), mode="nearest-exact")[:, 0]
    found = nearest_center(labels, size, crop)
    assert found.dtype == torch.uint8
    assert torch.equal(found.float(), expected)


def test_nearest_center_lies_on_the_image_that_resize_center_makes():
    """A square that is a whole number of results wide has its edges in the same places in both."""
    mask = torch.zeros(1, 40, 64)
    mask[:, 10:30, 22:42] = 1
    image = resize_center(mask[:, None].expand(-1, 3, -1, -1), 20)[:, 0]
    assert torch.equal(nearest_center(mask, 20), (image > 0.5).float())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_enlarged_pixels_are_squares(dtype):
    """As an outer product with a square of ones, of images and of masks alike."""
    pixels = torch.randint(0, 2, (2, 3, 4, 5), generator=torch.Generator().manual_seed(2)).to(dtype)
    large = enlarged(pixels, 3)
    assert large.dtype == dtype
    assert torch.equal(large, torch.kron(pixels.long(), torch.ones(3, 3, dtype=torch.int64)).to(dtype))
