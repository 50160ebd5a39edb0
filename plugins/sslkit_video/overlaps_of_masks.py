"""DAVIS's measures of masks: region similarity J and contour accuracy F. M masks."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

TOLERANCE = 0.008
"""Of borders, in diagonals of the frame (DAVIS `davis2017/metrics.py`)."""


def jaccard(guess: Tensor, truth: Tensor) -> Tensor:
    """Intersection over union of masks `[M, H, W]` bool, `[M]`; 1 where both are empty."""
    union = (guess | truth).sum((1, 2))
    return torch.where(union > 0, (guess & truth).sum((1, 2)) / union.clamp(min=1), 1.0)


def borders(mask: Tensor) -> Tensor:
    """Pixels of `[M, H, W]` bool that differ from the one to the right, below or across."""
    padded = F.pad(mask[:, None].float(), (0, 1, 0, 1), mode="replicate")[:, 0] > 0
    return (mask ^ padded[:, :-1, 1:]) | (mask ^ padded[:, 1:, :-1]) | (mask ^ padded[:, 1:, 1:])


def boundary_f(guess: Tensor, truth: Tensor) -> Tensor:
    """F of the borders of masks `[M, H, W]` bool, `[M]`: those within the tolerance of the other count as right."""
    height, width = truth.shape[1:]
    reach = math.ceil(TOLERANCE * math.hypot(height, width))
    ours, theirs = borders(guess), borders(truth)
    precision = _share(ours, _grown(theirs, reach))
    recall = _share(theirs, _grown(ours, reach))
    neither = ~ours.flatten(1).any(1) & ~theirs.flatten(1).any(1)
    value = 2 * precision * recall / (precision + recall).clamp(min=1e-12)
    return torch.where(neither, 1.0, value)


def _share(border: Tensor, near: Tensor) -> Tensor:
    return (border & near).sum((1, 2)) / border.sum((1, 2)).clamp(min=1)


def _grown(mask: Tensor, reach: int) -> Tensor:
    """With all pixels that a disk of this radius about one of its own holds."""
    axis = torch.arange(-reach, reach + 1, device=mask.device)
    disk = (axis[:, None] ** 2 + axis[None] ** 2 <= reach**2).float()
    return F.conv2d(mask[:, None].float(), disk[None, None], padding=reach)[:, 0] > 0.5
