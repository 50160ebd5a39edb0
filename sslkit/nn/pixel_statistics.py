"""Pixel normalization with the means and deviations as buffers, which go where the module goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn


def keep_statistics(
    module: nn.Module,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    persistent: bool = False,
    axes: int = 2,
) -> None:
    """Give `module` the buffers `mean` and `std`, `[C, 1, ...]` float32; with `persistent` they are in its state."""
    for name, values in (("mean", mean), ("std", std)):
        table = torch.tensor(values).view(-1, *(1,) * axes)
        module.register_buffer(name, table, persistent=persistent)


@final
class PixelNormalization(nn.Module):
    """Normalizes pixels in [0, 1] as a view does, and turns normalized images back; nothing of it is saved."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], axes: int = 2) -> None:
        """`axes`: those of what is normalized, besides channels."""
        super().__init__()
        keep_statistics(self, mean, std, axes=axes)

    @property
    def channels(self) -> int:
        """Of the images."""
        return len(self.mean)

    def forward(self, pixels: Tensor) -> Tensor:
        """`[..., C, H, W]` in [0, 1] -> as networks read them."""
        return (pixels - self.mean) / self.std

    def inverse(self, images: Tensor) -> Tensor:
        """`[..., C, H, W]` -> pixels, in [0, 1] but for rounding."""
        return images * self.std + self.mean
