"""Color jitter augmentation: brightness, contrast, saturation and hue."""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from torch import Tensor

from sslkit.functional.color import OPERATIONS, jitter, require_color
from sslkit.interfaces import Augment, Draw


class Strengths(NamedTuple):
    """How far each property may change; 0 leaves it alone."""

    brightness: float
    contrast: float
    saturation: float
    hue: float


@final
class ColorJitterAugment(Augment):
    """Four changes of color in an order of each image's own, for some images."""

    def __init__(self, strengths: Strengths, probability: float) -> None:
        self.strengths = strengths
        self.probability = probability
        self.used = tuple(name for name, strength in zip(OPERATIONS, strengths, strict=True) if strength > 0)

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        if self.strengths.saturation or self.strengths.hue:
            require_color(images, "color_jitter")
        factors, order, selected = self.drawn(draw)
        return jitter(images, factors, order, selected, self.used)

    def drawn(self, draw: Draw) -> tuple[Tensor, Tensor, Tensor]:
        """Factors `[B, 4]`, orders `[B, 4]` and which images are changed, `[B]`."""
        numbers = draw.uniform(1 + 2 * len(OPERATIONS))  # one call: each costs as much as many numbers
        chance, unit, keys = numbers.split([1, len(OPERATIONS), len(OPERATIONS)], dim=-1)
        low = [max(0.0, 1 - s) for s in self.strengths[:3]] + [-self.strengths.hue]
        high = [1 + s for s in self.strengths[:3]] + [self.strengths.hue]
        lows, highs = torch.tensor([low, high], device=draw.device)
        return unit * (highs - lows) + lows, keys.argsort(dim=-1), chance[..., 0] < self.probability
