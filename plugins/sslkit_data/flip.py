"""Mirror images."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from sslkit.core.augment import Augment
from sslkit.core.draw import Draw


@final
class HorizontalFlipAugment(Augment):
    """Swaps left and right of some images."""

    def __init__(self, probability: float) -> None:
        self.probability = probability

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        """`[B, C, H, W]` -> the same shape."""
        return torch.where(draw.chance(self.probability, 1, 1, 1), images.flip(-1), images)
