"""Augmentations of images that change all frames of a clip alike. B clips, T frames."""

from __future__ import annotations

from typing import final

from torch import Tensor

from sslkit.interfaces import Augment, Draw


@final
class TemporallyConsistentAugment(Augment):
    """Gives each frame the row of its clip, so that all of them draw the same numbers."""

    def __init__(self, augment: Augment) -> None:
        self.augment = augment
        self.fixes_size = augment.fixes_size

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        """`[B, C, T, H, W]`."""
        frames = images.shape[2]
        rows = draw.rows.repeat_interleave(frames)
        changed: Tensor = self.augment(images.transpose(1, 2).flatten(0, 1), Draw(draw.key, rows))
        clips: Tensor = changed.unflatten(0, (-1, frames))
        return clips.transpose(1, 2).contiguous()
