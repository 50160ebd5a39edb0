"""Attention-guided masking (AttMask)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from sslkit.interfaces import Draw, Encode, Masker, Scene
from sslkit_maskers.guided.ranking import hide_highest, ranks
from sslkit_maskers.patch_shares import Counts


@final
class AttentionSampler(Masker):
    """Ranks patches by the class token's attention in the last block, averaged over heads."""

    def __init__(
        self, view: str, net: str, counts: Counts, *, low: bool = False, shown: int = 0, pool: int = 0
    ) -> None:
        """A sampler; of the `pool` most attended patches, `shown` random ones stay visible.

        With `low` the least attended patches are hidden.
        """
        super().__init__()
        self.passes = (Encode(view, net=net, attention=True),)
        self.visible: int | None = counts.visible
        self.most, self.guided = counts.hidden, counts.guided
        self.sign = -1.0 if low else 1.0
        self.shown, self.pool = shown, pool

    def sample(self, draw: Draw, scene: Scene) -> Tensor:
        attention = scene.tokens[0].attention
        assert attention is not None, "the pass asks for attention"
        scores = attention.mean(dim=-2) * self.sign
        shown = self._shown(draw, scores) if self.shown else None
        return hide_highest(draw, scores, self.guided, self.most, shown)

    def _shown(self, draw: Draw, scores: Tensor) -> Tensor:
        """Random ones of the patches of the highest scores, `[*rows, N]` bool."""
        patches = scores.shape[-1]
        pool = ranks(scores, draw.uniform(patches)) < self.pool
        return ranks(pool.to(torch.int8), draw.uniform(patches)) < self.shown
