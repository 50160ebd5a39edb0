"""Random masking of square units larger than a patch, as in SimMIM."""

from __future__ import annotations

from typing import final

from torch import Tensor

from sslkit.interfaces import Draw, Masker, Scene
from sslkit.plugin import Grid
from sslkit_maskers.unguided.random import highest


@final
class UnitSampler(Masker):
    """Hides the same number of units in every image, uniformly at random; a unit is `scale` x `scale` patches."""

    def __init__(self, grid: Grid, scale: int, hidden_units: int) -> None:
        super().__init__()
        self.down, self.across, self.scale = grid.rows // scale, grid.cols // scale, scale
        self.hidden_units = hidden_units
        self.most = hidden_units * scale**2
        self.visible: int | None = grid.patches - self.most

    def sample(self, draw: Draw, scene: Scene) -> Tensor:
        units = highest(draw.uniform(self.down * self.across), self.hidden_units)
        return spread(units.unflatten(-1, (self.down, self.across)), self.scale)


def spread(units: Tensor, scale: int) -> Tensor:
    """`units` `[*rows, D, A]`, each repeated over its `scale` x `scale` patches, `[*rows, D A scale²]`."""
    down, across = units.shape[-2:]
    wide = units[..., :, None, :, None].expand(*units.shape[:-2], down, scale, across, scale)
    return wide.flatten(-4)
