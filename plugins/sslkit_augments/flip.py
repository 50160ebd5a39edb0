"""Random horizontal flip augmentation."""

from __future__ import annotations

from typing import final

from torch import Tensor

from sslkit.functional.row_subsets import change_rows
from sslkit.interfaces import Augment, Draw


@final
class HorizontalFlipAugment(Augment):
    """Swaps left and right of some images."""

    def __init__(self, probability: float) -> None:
        self.probability = probability

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        return change_rows(images, draw.chance(self.probability), lambda x, rows: x.flip(-1))
