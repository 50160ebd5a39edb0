"""Random grayscale augmentation."""

from __future__ import annotations

from typing import final

from torch import Tensor

from sslkit.core.augment import Augment
from sslkit.core.draw import Draw
from sslkit.functional.colour import grayscale, require_colour
from sslkit.functional.rows import change_rows


@final
class GrayscaleAugment(Augment):
    """Puts the gray value into every channel of some images."""

    def __init__(self, probability: float) -> None:
        self.probability = probability

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        if not require_colour(images, "grayscale"):
            return images
        return change_rows(images, draw.chance(self.probability), lambda x, rows: grayscale(x))
