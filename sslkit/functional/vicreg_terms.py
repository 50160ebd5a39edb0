"""Anti-collapse regularizers: VICReg's variance and covariance, and uniformity; each falls as features spread.

Shapes: `[..., N, D]` -> `[...]` for N images (at least 2) of width D. All are computed in at least float32.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.functional.precision import at_least_float32


def variance(features: Tensor, gamma: float = 1.0, eps: float = 1e-4) -> Tensor:
    """VICReg's hinge: mean over dimensions of max(0, gamma - sqrt(var + eps)), with the unbiased variance.

    Defaults: VICReg (`main_vicreg.py`). Its loss takes the mean of this over both branches.
    """
    deviation = (at_least_float32(features).var(dim=-2) + eps).sqrt()
    return F.relu(gamma - deviation).mean(-1)


def covariance(features: Tensor) -> Tensor:
    """VICReg's sum of the squared off-diagonal covariances (over N - 1), divided by D. Its loss adds both branches."""
    x = at_least_float32(features)
    with torch.autocast(x.device.type, enabled=False):
        centered = x - x.mean(dim=-2, keepdim=True)
        products = centered.mT @ centered / (x.shape[-2] - 1)
    diagonal = products.diagonal(dim1=-2, dim2=-1).square().sum(-1)
    return (products.square().sum((-2, -1)) - diagonal) / x.shape[-1]


def uniformity(features: Tensor, t: float = 2.0) -> Tensor:
    """Wang and Isola's log of the mean over pairs of exp(-t ||x - y||^2), for features of length 1.

    Default t: the authors' (`align_uniform/__init__.py`).
    """
    x = at_least_float32(features)
    with torch.autocast(x.device.type, enabled=False):
        products = x @ x.mT
    squares = x.square().sum(-1)
    distances = squares[..., :, None] + squares[..., None, :] - 2 * products
    count = x.shape[-2]
    pairs = torch.ones(count, count, dtype=torch.bool, device=x.device).triu(1)
    return (-t * distances).masked_fill(~pairs, -math.inf).logsumexp((-2, -1)) - math.log(
        count * (count - 1) / 2
    )
