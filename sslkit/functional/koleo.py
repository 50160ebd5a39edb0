"""KoLeo: an estimate of differential entropy that keeps the features of a batch apart (DINOv2 `koleo_loss.py`)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.functional.precision import at_least_float32

EPS = 1e-8  # DINOv2's, of all three: length, difference, logarithm


def koleo(features: Tensor) -> Tensor:
    """-mean log ||x_i - x_n(i)|| over images, x of length 1 and n(i) the nearest other image; lower is more spread.

    Args:
        features: `[..., N, D]`, N images (at least 2) of width D, of any length. Computed in at least float32.

    Returns:
        `[...]`. Gradients flow through both images of a pair, not through the choice of the neighbor.
    """
    x = F.normalize(at_least_float32(features), dim=-1, eps=EPS)
    nearest = nearest_others(x.detach())
    others = x.gather(-2, nearest[..., None].expand_as(x))
    distances = (x - others + EPS).square().sum(-1).sqrt()
    return -(distances + EPS).log().mean(-1)


def nearest_others(unit: Tensor) -> Tensor:
    """Index of the other image at the greatest cosine, `[..., N]`, for features `[..., N, D]` of length 1."""
    with torch.autocast(unit.device.type, enabled=False):
        products = unit @ unit.mT
    diagonal = torch.eye(unit.shape[-2], dtype=torch.bool, device=unit.device)
    return products.masked_fill(diagonal, -2.0).argmax(-1)
