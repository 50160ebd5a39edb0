"""Crops and resizes with antialiasing, as batched matrix products. B images, C channels, S output side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Interpolation = Literal["bicubic", "bilinear"]

DENSE_SIDE = 128
"""A single image with a longer side than this is sliced and interpolated: its matrices are mostly zeros."""

_CUBIC = -0.5  # the kernel of PIL and of torch's antialiased mode; torch's plain mode has -0.75


class Box(NamedTuple):
    """A rectangle of pixels."""

    top: int
    left: int
    height: int
    width: int

    def of(self, images: Tensor) -> Tensor:
        """A view of this part of `[..., H, W]`."""
        return images[..., self.top : self.top + self.height, self.left : self.left + self.width]


def resize_crop(
    images_BCHW: Tensor, boxes_B4: Tensor, size: tuple[int, int], interpolation: Interpolation = "bicubic"
) -> Tensor:
    """Cut every image to its own box and resize it to `size`, antialiased.

    Pixel by pixel what `F.interpolate(crop, size, mode=interpolation, antialias=True)` makes of each crop:
    the kernel widens with the scale, and its taps stay inside the crop and sum to 1.

    Args:
        images_BCHW: float32 images.
        boxes_B4: int64 boxes inside the images: top, left, height, width.
        size: Height and width of the result.
        interpolation: Kernel.

    Returns:
        `[B, C, *size]` float32. Bicubic results may leave the range of the input by a little.
    """
    count, channels, height, width = images_BCHW.shape
    if count == 1 and max(height, width) > DENSE_SIDE:
        return _sliced(images_BCHW, Box(*boxes_B4[0].tolist()), size, interpolation)
    rows_BSH = _weights(boxes_B4[:, 0], boxes_B4[:, 2], height, size[0], interpolation)
    columns_BSW = _weights(boxes_B4[:, 1], boxes_B4[:, 3], width, size[1], interpolation)
    narrowed = torch.bmm(images_BCHW.reshape(count, channels * height, width), columns_BSW.mT)
    rows_BCSH = rows_BSH.unsqueeze(1).expand(-1, channels, -1, -1)
    resized = torch.bmm(rows_BCSH.reshape(-1, size[0], height), narrowed.reshape(-1, height, size[1]))
    return resized.reshape(count, channels, *size)


def resize_bytes(
    image_CHW: Tensor, box: Box, size: int | tuple[int, int], interpolation: Interpolation
) -> Tensor:
    """Cut one uint8 image to `box` and resize it to `size`, antialiased, in integer arithmetic on a CPU.

    Both ways are rounded to bytes, as in PIL; `resize_crop` of the floats, rounded once, differs by 1/255 in places.
    """
    crop = box.of(image_CHW[None])
    return F.interpolate(crop, pair_of(size), mode=interpolation, align_corners=False, antialias=True)[0]


def pair_of(size: int | Sequence[int]) -> tuple[int, int]:
    """Height and width; one number is both."""
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def center_crop_box(height: int, width: int, keep: float = 1.0, aspect: float = 1.0) -> Box:
    """The middle of an image, of the shape width / height = `aspect`: `keep` of what fits, and at least a pixel.

    Odd margins are split as torchvision's `center_crop` does.
    """
    tall = min(height, width / aspect)
    rows = max(1, min(height, round(tall * keep)))
    columns = max(1, min(width, round(tall * aspect * keep)))
    return Box(round((height - rows) / 2), round((width - columns) / 2), rows, columns)


def resize_center(images_BCHW: Tensor, size: int | Sequence[int], crop: float = 1.0) -> Tensor:
    """Cut the center and resize it to `size`: bicubic, antialiased, clamped to [0, 1].

    Args:
        images_BCHW: float32 images in [0, 1], all of one size.
        size: Side of the result, or its height and width.
        crop: Share that the center keeps of the largest of that shape that fits.

    Returns:
        `[B, C, *size]` float32; the input itself where nothing is to be done.
    """
    height, width = images_BCHW.shape[-2:]
    rows, columns = pair_of(size)
    box = center_crop_box(height, width, crop, columns / rows)
    if (height, width) == (box.height, box.width) == (rows, columns):
        return images_BCHW
    return _sliced(images_BCHW, box, (rows, columns), "bicubic").clamp(0, 1)


def nearest_center(labels_BHW: Tensor, size: int, crop: float = 1.0) -> Tensor:
    """Cut the square that `resize_center` cuts and resize it to `size` x `size` by nearest pixels, for labels.

    A result takes the pixel that its center falls into, as PIL and scikit-image do (`nearest-exact` of torch).

    Args:
        labels_BHW: any type.
        size: Side of the result.
        crop: Share of the shorter side that the square keeps.

    Returns:
        `[B, size, size]`, of the type of the input.
    """
    height, width = labels_BHW.shape[-2:]
    box = center_crop_box(height, width, crop)
    places = ((torch.arange(size, device=labels_BHW.device) * 2 + 1) * box.height) // (2 * size)
    rows, columns = places + box.top, places + box.left
    return labels_BHW[:, rows[:, None], columns]


def enlarged(images: Tensor, factor: int) -> Tensor:
    """Every pixel of `[..., H, W]` as a square of `factor` x `factor`, of any type."""
    return images.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)


def _sliced(images_BCHW: Tensor, box: Box, size: tuple[int, int], interpolation: Interpolation) -> Tensor:
    """`resize_crop` where all images share one box."""
    return F.interpolate(box.of(images_BCHW), size, mode=interpolation, align_corners=False, antialias=True)


def _weights(
    start_B: Tensor, length_B: Tensor, total: int, size: int, interpolation: Interpolation
) -> Tensor:
    """Share `[B, size, total]` of each of `total` pixels in each of `size` results."""
    scale_B11 = (length_B.float() / size)[:, None, None]
    pixel_B1L = (torch.arange(total, device=start_B.device) - start_B[:, None])[:, None, :]
    center = scale_B11 * (torch.arange(size, device=start_B.device)[:, None] + 0.5)
    distance = (pixel_B1L + 0.5 - center).div_(scale_B11.clamp(min=1)).abs_()
    inside = (pixel_B1L >= 0) & (pixel_B1L < length_B[:, None, None])
    weights = KERNELS[interpolation](distance).mul_(inside.float())
    return weights.div_(weights.sum(-1, keepdim=True))


def _triangle(x: Tensor) -> Tensor:
    return (1 - x).clamp_(min=0)


def _cubic(x: Tensor) -> Tensor:
    """Keys' kernel: 1 at 0, 0 at 1 and from 2 on. Both parts are exactly 0 at their ends, so they may be added.

    Choosing between them by booleans is many times slower on a CPU.
    """
    near, far = x.clamp(max=1), x.clamp(1, 2)
    inner = (near * (_CUBIC + 2)).sub_(_CUBIC + 3).mul_(near).mul_(near).add_(1)
    outer = (far * _CUBIC).sub_(5 * _CUBIC).mul_(far).add_(8 * _CUBIC).mul_(far).sub_(4 * _CUBIC)
    return inner.add_(outer)


KERNELS = {"bicubic": _cubic, "bilinear": _triangle}
"""Weight by distance from the center, in pixels, or in those of the result where that has fewer; changes its input."""
SUPPORT = {"bicubic": 2, "bilinear": 1}
"""Distance from which on the weight is 0."""
