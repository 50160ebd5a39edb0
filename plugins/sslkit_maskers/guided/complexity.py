"""Masking by patch complexity."""

from __future__ import annotations

from functools import reduce
from typing import Literal, NamedTuple, final

import torch
from einops import rearrange
from torch import Tensor

from sslkit.functional.hog import sobel_gradients
from sslkit.interfaces import Draw, Masker, Scene
from sslkit.nn.pixel_statistics import PixelNormalization
from sslkit.plugin import View
from sslkit_maskers.guided.ranking import hide_highest
from sslkit_maskers.patch_shares import Counts

PRECISION = 1e-6
"""Entropies, in nats, are compared in these steps: sums of equal terms in other orders stay equal."""


class Measure(NamedTuple):
    """The complexity of a patch."""

    name: Literal["gradient", "entropy"]
    bins: int
    """Gray levels of the histogram of `entropy`."""


@final
class ComplexitySampler(Masker):
    """Hides the most complex patches, or the plainest, and random ones of the rest."""

    def __init__(self, measure: Measure, counts: Counts, patch: int, view: View, *, low: bool) -> None:
        """With `low` the plainest patches of side `patch` are hidden."""
        super().__init__()
        self.measure, self.patch, self.low = measure, patch, low
        self.visible: int | None = counts.visible
        self.most, self.guided = counts.hidden, counts.guided
        self.normalize = PixelNormalization(view.mean, view.std)

    def sample(self, draw: Draw, scene: Scene) -> Tensor:
        scores = self._complexity(scene.image)
        return hide_highest(draw, -scores if self.low else scores, self.guided, self.most)

    def _complexity(self, image: Tensor) -> Tensor:
        channels = self.normalize.inverse(image).unbind(-3)
        gray = reduce(torch.add, channels) / len(channels)  # additions in one order on every device
        if self.measure.name == "gradient":
            return gradient_energy(gray, self.patch)
        return gray_entropy(gray, self.patch, self.measure.bins)


def gradient_energy(gray: Tensor, patch: int) -> Tensor:
    """Mean length of the Sobel gradient over the pixels of each patch, `[..., H, W]` -> `[..., N]`.

    At the edges of a patch the gradient sees a pixel of its neighbor; images are reflected at their borders.
    """
    across, down = sobel_gradients(gray)
    length = (across.square() + down.square()).sqrt()
    return _by_patch(length, patch).mean(-1, dtype=torch.float64)


def gray_entropy(gray: Tensor, patch: int, bins: int) -> Tensor:
    """Shannon entropy, in nats, of each patch's histogram of `bins` levels: `[..., H, W]` in [0, 1] -> `[..., N]`.

    Values outside [0, 1] count at its ends. Counts are whole numbers, so that the order of additions does not matter.
    """
    level = (_by_patch(gray, patch) * bins).long().clamp(0, bins - 1)
    counts = gray.new_zeros(*level.shape[:-1], bins).scatter_add_(
        -1, level, gray.new_ones(()).expand_as(level)
    )
    entropy: Tensor = torch.special.entr(counts.double() / patch**2).sum(-1)
    return (entropy / PRECISION).round() * PRECISION


def _by_patch(values: Tensor, patch: int) -> Tensor:
    return rearrange(values, "... (h p) (w q) -> ... (h w) (p q)", p=patch, q=patch)
