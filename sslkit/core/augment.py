"""Augmentations: random transforms of a batch of images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from sslkit.core.random_stream import Draw

_HIGHEST = {torch.uint8: 255, torch.uint16: 65535, torch.int16: 65535}
"""What becomes 1, counted from the lowest value; floats are in [0, 1] already."""


class Augment(ABC):
    """A batched operation, random per image."""

    fixes_size: bool = False
    """Whether every image leaves with the view's size, whatever it had. Such a step can run in a worker process."""

    @abstractmethod
    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        """`images` `[B, C, H, W]` float32 in [0, 1], changed; `draw` has rows `[B]`."""

    def cut(self, images: Tensor | Sequence[Tensor], draw: Draw) -> Tensor:
        """What a step that fixes the size makes of decoded images where it comes first.

        Override it where bytes can be cut quicker than floats. An image's result must not depend on the others.

        Args:
            images: `[B, C, H, W]`, or B images `[C, H, W]` of any sizes; all uint8, or all of types that are not.
            draw: Rows `[B]`.

        Returns:
            `[B, C, S, S]`, uint8 of uint8 and float32 in [0, 1] of all others.
        """
        if isinstance(images, Tensor):
            return as_stored(self(to_float(images), draw), images)
        rows = [Draw(draw.key, row[None]) for row in draw.rows]
        return torch.cat([self.cut(x[None], row) for x, row in zip(images, rows, strict=True)])


def to_float(images: Tensor) -> Tensor:
    """Pixels of any type that `Source.load` may give, as float32 in [0, 1].

    uint8 is divided by 255 and uint16 by 65535; int16 -32768 becomes 0 and 32767 becomes 1. float32 stays as it is.
    """
    floats = images.to(torch.float32)
    if images.dtype == torch.int16:
        floats = floats.add_(32768)
    most = _HIGHEST.get(images.dtype)
    return floats if most is None else floats.div_(most)


def to_uint8(images: Tensor) -> Tensor:
    """float32 in [0, 1] -> uint8, rounded."""
    return (images * 255).round_().clamp_(0, 255).to(torch.uint8)


def as_stored(floats: Tensor, images: Tensor) -> Tensor:
    """`floats` in [0, 1] as they travel: uint8 where `images`, which they were made of, are, and else as they are."""
    return to_uint8(floats) if images.dtype == torch.uint8 else floats
