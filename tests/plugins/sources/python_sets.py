"""Datasets as people have them, for the tests of sources of Python objects."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
LABELS = [i % 4 for i in range(40)]


def pil(index: int, mode: str = "RGB") -> Image.Image:
    """Image `index`."""
    return Image.fromarray(PIXELS[index]).convert(mode)


def chw(index: int) -> torch.Tensor:
    """Image `index`, `[3, 8, 8]` uint8."""
    return torch.from_numpy(PIXELS[index]).permute(2, 0, 1)


class Items:
    """A map-style dataset of whatever `make` gives."""

    def __init__(self, make: Callable[[int], object], count: int = 40, **attributes: Any) -> None:
        self.make, self.count = make, count
        vars(self).update(attributes)
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> object:
        if not 0 <= index < self.count:
            raise IndexError(index)
        self.read.append(index)
        return self.make(index)


def flipped(index: int) -> torch.Tensor:
    """Image `index`, turned at random by three generators."""
    image = chw(index)
    for draw in (random.random(), np.random.random(), torch.rand(1).item()):
        image = torch.roll(image, int(8 * draw), dims=-1)
    return image
