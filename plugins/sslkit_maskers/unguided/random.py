"""Random masking of an exact count."""

from __future__ import annotations

from typing import final

from torch import Tensor

from sslkit.interfaces import Draw, Masker, Scene


@final
class RandomSampler(Masker):
    """Ranks uniform noise; the patches of the lowest ranks stay visible, as in MAE's `random_masking`."""

    def __init__(self, patches: int, visible: int) -> None:
        super().__init__()
        self.patches = patches
        self.visible = visible
        self.most = patches - visible

    def sample(self, draw: Draw, scene: Scene) -> Tensor:
        return highest(draw.uniform(self.patches), self.most)


def highest(noise: Tensor, count: int) -> Tensor:
    """True at the `count` highest values of each row of `noise`, ties by position."""
    ranks = noise.argsort(dim=-1, stable=True).argsort(dim=-1)
    return ranks >= noise.shape[-1] - count
