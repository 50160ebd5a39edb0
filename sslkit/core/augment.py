"""Augmentations: random changes of a batch of images."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from sslkit.core.draw import Draw


class Augment(ABC):
    """A batched operation, random per image."""

    fixes_size: bool = False
    """Whether every image leaves with the view's size, whatever it had. Such a step can run in a worker process."""

    @abstractmethod
    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        """`images` `[B, C, H, W]` float32 in [0, 1], changed; `draw` has rows `[B]`."""
