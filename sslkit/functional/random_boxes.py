"""Random parts of images, as torchvision's `RandomResizedCrop` draws them."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

ATTEMPTS = 10
"""Boxes tried before the central one is taken (torchvision `RandomResizedCrop.get_params`)."""


class Uniform(Protocol):
    """What numbers are drawn from: a `Draw`."""

    @property
    def shape(self) -> torch.Size:
        """Of what is drawn."""

    @property
    def device(self) -> torch.device:
        """Of what is drawn."""

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Numbers in [low, high), `[*self.shape, *shape]`."""


def random_boxes(
    draw: Uniform,
    height: int | Tensor,
    width: int | Tensor,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> Tensor:
    """Boxes `[B, 4]` (top, left, height, width) as torchvision's `RandomResizedCrop.get_params` draws them.

    The area is uniform over `scale`, the logarithm of width / height over that of `ratio`. The first of 10
    attempts that fits counts; without one, the largest central box whose aspect lies in `ratio`. `height` and
    `width` are those of all images, or `[B]` int64.
    """
    tall, wide = (_column(x, draw) for x in (height, width))
    area = draw.uniform(ATTEMPTS, low=scale[0], high=scale[1]).double() * (tall * wide)
    aspect = draw.uniform(ATTEMPTS, low=math.log(ratio[0]), high=math.log(ratio[1])).double().exp()
    widths, heights = (area * aspect).sqrt().round().long(), (area / aspect).sqrt().round().long()
    fits = (widths > 0) & (widths <= wide) & (heights > 0) & (heights <= tall)
    first = fits.to(torch.int8).argmax(-1, keepdim=True)  # the first of equal values
    size = torch.cat([heights.gather(-1, first), widths.gather(-1, first)], -1)
    room = torch.cat([tall, wide], -1) - size
    start = (draw.uniform(2) * (room + 1)).long().minimum(room)
    fallback = _central_boxes(tall, wide, ratio)
    return torch.where(fits.any(-1, keepdim=True), torch.cat([start, size], -1), fallback)


def _column(value: int | Tensor, draw: Uniform) -> Tensor:
    """`[B, 1]`."""
    return (value if isinstance(value, Tensor) else torch.full(draw.shape, value, device=draw.device))[
        :, None
    ]


def _central_boxes(tall_B1: Tensor, wide_B1: Tensor, ratio: tuple[float, float]) -> Tensor:
    """`[B, 4]`: the whole image, or as much of its middle as has an aspect in `ratio`."""
    tall, wide = tall_B1.double(), wide_B1.double()
    heights = torch.where(wide / tall < ratio[0], (wide / ratio[0]).round(), tall).long()
    widths = torch.where(wide / tall > ratio[1], (tall * ratio[1]).round(), wide).long()
    top = (tall_B1 - heights).div(2, rounding_mode="floor")
    left = (wide_B1 - widths).div(2, rounding_mode="floor")
    return torch.cat([top, left, heights, widths], -1)
