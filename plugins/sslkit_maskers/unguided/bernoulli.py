"""Bernoulli masking: every patch is hidden independently."""

from __future__ import annotations

from typing import final

from torch import Tensor

from sslkit.interfaces import Draw, Masker, Scene


@final
class BernoulliSampler(Masker):
    """Hides each patch with the same probability, whatever happens to the others: the count is binomial."""

    visible = None

    def __init__(self, patches: int, probability: float) -> None:
        super().__init__()
        self.patches = patches
        self.probability = probability
        self.most = patches

    def sample(self, draw: Draw, scene: Scene) -> Tensor:
        return draw.chance(self.probability, self.patches)
