"""Mean color tokenizer, which needs no training."""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@final
class PatchColors(nn.Module):
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
