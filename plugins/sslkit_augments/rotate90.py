"""Rotation by quarter turns."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from sslkit.interfaces import Augment, Draw


@final
class Rotate90Augment(Augment):
    """Turns every image alike."""

    def __init__(self, quarters: int) -> None:
        self.quarters = quarters

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        """`[B, C, S, S]` -> the same shape; square, so that any turn fits."""
        return torch.rot90(images, self.quarters, (-2, -1))
