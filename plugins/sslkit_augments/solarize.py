"""Random solarization augmentation."""

from __future__ import annotations

from typing import final

from torch import Tensor

from sslkit.functional.color import solarize
from sslkit.functional.row_subsets import change_rows
from sslkit.interfaces import Augment, Draw


@final
class SolarizeAugment(Augment):
    """Inverts the bright values of some images."""

    def __init__(self, threshold: float, probability: float) -> None:
        self.threshold = threshold
        self.probability = probability

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        selected = draw.chance(self.probability)
        return change_rows(images, selected, lambda x, rows: solarize(x, self.threshold))
