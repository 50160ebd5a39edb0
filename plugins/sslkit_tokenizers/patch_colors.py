"""The target `patch_colors`: mean colors as tokens, from a tokenizer that needs no training."""

from __future__ import annotations

from functools import partial
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.interfaces import TokenTarget, token_target
from sslkit.plugin import Grid, SpecError, View

MOST = 2**20
"""Codes; a head has a row for each."""


@final
class MeanColors(nn.Module):
    """Ids of mean colors, each channel in `levels` equal steps: `levels ** C` codes, the first channel slowest."""

    def __init__(self, patch: int, levels: int) -> None:
        super().__init__()
        self.patch, self.levels = patch, levels

    def forward(self, images: Tensor) -> Tensor:
        """`[B, C, S, S]` in [0, 1] -> `[B, S / patch, S / patch]` int64."""
        steps = (F.avg_pool2d(images, self.patch) * self.levels).long().clamp(0, self.levels - 1)
        digits = torch.arange(images.shape[1] - 1, -1, -1, device=images.device)
        ids: Tensor = (steps * (self.levels**digits).view(-1, 1, 1)).sum(1)
        return ids


def color_tokens(levels: int, size: int | None, view: View, grid: Grid) -> TokenTarget:
    """The target whose tokens are the mean colors of the patches, each channel in `levels` steps.

    Raises:
        SpecError: `size`, the side to which crops are resized, is smaller than the number of patches, or there are
            too many codes.
    """
    patch, codes = (size or view.size) // grid.rows, levels**view.channels
    if patch < 1:
        raise SpecError(f"target.size: {size} pixels cannot be cut into {grid.rows} x {grid.cols} patches")
    if codes > MOST:
        raise SpecError(
            f"target.levels: {levels} steps of {view.channels} channels are {codes} codes, of at most {MOST}"
        )
    make = partial(MeanColors, patch, levels)
    return token_target(make, view, grid, codes=codes, size=size, name="`patch_colors`")
