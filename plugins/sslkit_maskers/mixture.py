"""A random choice between maskers for each image."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import final

import torch
from torch import Tensor

from sslkit.core.draw import Draw
from sslkit.core.masker import Masker


@final
class MixtureSampler(Masker):
    """Every image gets the mask of one of `maskers`, drawn with `weights`."""

    def __init__(self, maskers: Sequence[Masker], weights: Sequence[float]) -> None:
        self.maskers = tuple(maskers)
        self.bounds = tuple(bound / sum(weights) for bound in accumulate(weights))[:-1]
        counts = {masker.visible for masker in maskers}
        self.visible = counts.pop() if len(counts) == 1 else None
        self.most = max(masker.most for masker in maskers)

    def sample(self, draw: Draw) -> Tensor:
        """Hidden patches, `[*rows, N]` bool."""
        toss = draw.uniform()[..., None]
        hidden = self.maskers[0].sample(draw)
        for bound, masker in zip(self.bounds, self.maskers[1:], strict=True):
            hidden = torch.where(toss < bound, hidden, masker.sample(draw))
        return hidden
