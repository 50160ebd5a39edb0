"""Random grayscale augmentation."""

from __future__ import annotations

from typing import final

from torch import Tensor

from sslkit.functional.color import grayscale, require_color
from sslkit.functional.row_subsets import change_rows
from sslkit.interfaces import Augment, Draw


@final
class GrayscaleAugment(Augment):
    """Puts the gray value into every channel of some images."""

    def __init__(self, probability: float) -> None:
        self.probability = probability

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        if not require_color(images, "grayscale"):
            return images
        return change_rows(images, draw.chance(self.probability), lambda x, rows: grayscale(x))
