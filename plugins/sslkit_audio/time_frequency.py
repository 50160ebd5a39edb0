"""Masks of whole frames and whole bands of frequency, as AudioMAE's `random_masking_2d`."""

from __future__ import annotations

from typing import final

from torch import Tensor

from sslkit.interfaces import Draw, Masker, Scene


@final
class TimeFrequencySampler(Masker):
    """Hides the same number of rows (time) and of columns (frequency) of patches in every spectrogram."""

    def __init__(self, shape: tuple[int, int], kept: tuple[int, int]) -> None:
        """`shape`: rows and columns of patches; `kept`: how many of each stay."""
        super().__init__()
        self.shape, self.kept = shape, kept
        self.visible: int | None = kept[0] * kept[1]
        self.most = shape[0] * shape[1] - self.visible

    def sample(self, draw: Draw, scene: Scene) -> Tensor:
        times, bands = (
            draw.permutation(count) >= kept for count, kept in zip(self.shape, self.kept, strict=True)
        )
        return (times[..., :, None] | bands[..., None, :]).flatten(-2)
