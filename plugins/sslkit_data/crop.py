"""Crops that fix the size of an image."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor

from sslkit.core.augment import Augment
from sslkit.core.draw import Draw
from sslkit.functional.resize import Interpolation, resize_center, resize_crop

ATTEMPTS = 10
"""Boxes tried before the central one is taken (torchvision `RandomResizedCrop.get_params`)."""


@final
class RandomResizedCropAugment(Augment):
    """A random part of the image, resized; in steps of 1/255, so that it may travel as uint8."""

    fixes_size = True

    def __init__(
        self, size: int, scale: tuple[float, float], ratio: tuple[float, float], interpolation: Interpolation
    ) -> None:
        self.size = size
        self.scale = scale
        self.ratio = ratio
        self.interpolation = interpolation

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        """`[B, C, H, W]` -> `[B, C, size, size]`."""
        boxes = random_boxes(draw, images.shape[-2], images.shape[-1], self.scale, self.ratio)
        return to_byte_levels(resize_crop(images, boxes, (self.size, self.size), self.interpolation))


@final
class ResizeAugment(Augment):
    """The central square, resized; in steps of 1/255."""

    fixes_size = True

    def __init__(self, size: int, crop: float) -> None:
        self.size = size
        self.crop = crop

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        """`[B, C, H, W]` -> `[B, C, size, size]`; draws nothing."""
        return to_byte_levels(resize_center(images, self.size, self.crop))


def random_boxes(
    draw: Draw, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> Tensor:
    """Boxes `[B, 4]` (top, left, height, width) as torchvision's `RandomResizedCrop.get_params` draws them.

    The area is uniform over `scale`, the logarithm of width / height over that of `ratio`. The first of 10
    attempts that fits counts; without one, the largest central box whose aspect lies in `ratio`.
    """
    area = draw.uniform(ATTEMPTS, low=scale[0], high=scale[1]).double() * (height * width)
    aspect = draw.uniform(ATTEMPTS, low=math.log(ratio[0]), high=math.log(ratio[1])).double().exp()
    widths, heights = (area * aspect).sqrt().round().long(), (area / aspect).sqrt().round().long()
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    first = fits.to(torch.int8).argmax(-1, keepdim=True)  # the first of equal values
    sides = torch.stack([heights.gather(-1, first), widths.gather(-1, first)], -1).squeeze(-2)
    room = torch.tensor([height, width], device=draw.device) - sides
    start = (draw.uniform(2) * (room + 1)).long().minimum(room)
    fallback = torch.tensor(_central_box(height, width, ratio), device=draw.device)
    return torch.where(fits.any(-1, keepdim=True), torch.cat([start, sides], -1), fallback)


def to_byte_levels(images: Tensor) -> Tensor:
    """`images` in [0, 1], rounded to the 256 values that a uint8 image has."""
    return images.clamp(0, 1).mul(255).round().div(255)


def _central_box(height: int, width: int, ratio: tuple[float, float]) -> tuple[int, int, int, int]:
    box_height, box_width = height, width
    if width / height < ratio[0]:
        box_height = round(width / ratio[0])
    elif width / height > ratio[1]:
        box_width = round(height * ratio[1])
    return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width
