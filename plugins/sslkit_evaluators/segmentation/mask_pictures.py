"""Rendering of images and segmentation masks."""

from __future__ import annotations

import torch
from torch import Tensor

from sslkit.functional.pixel_normalization import as_rgb, unnormalized
from sslkit.plugin import View

UNTOLD = (224, 224, 192)
"""Color of unlabeled pixels, as in the figures of PASCAL VOC."""


def unit(images: Tensor, view: View) -> Tensor:
    """Normalized images `[B, C, S, S]` as colors in [0, 1], `[B, 3, S, S]`."""
    return as_rgb(unnormalized(images, view.mean, view.std), view.show)


def colored(masks: Tensor) -> Tensor:
    """Numbers of regions `[B, S, S]` as colors in [0, 1], `[B, 3, S, S]`: those of PASCAL VOC, 0 being black."""
    return _colors()[masks.long()].movedim(-1, 1) / 255


def _colors() -> Tensor:
    """`[256, 3]`: bits 0, 3, 6 of the number are the upper bits of red, 1, 4, 7 of green, 2, 5 of blue."""
    number, colors = torch.arange(256), torch.zeros(256, 3, dtype=torch.int64)
    for channel in range(3):
        for place in range(8):
            bit = number >> (3 * place + channel) & 1
            colors[:, channel] |= bit << (7 - place)
    colors[255] = torch.tensor(UNTOLD)
    return colors.float()
