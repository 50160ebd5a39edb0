"""Whitening by the Cholesky factor of the covariance. G groups, n images of a group, D width."""

from __future__ import annotations

import torch
from torch import Tensor

from sslkit.functional.precision import at_least_float32


def whiten(x_GnD: Tensor, eps: float = 0.0) -> Tensor:
    """`[..., n, D]` with mean 0 and identity covariance, in at least float32, with gradient through the factor.

    z = L^-1 (x - mean), where L L^T is the unbiased covariance, `eps` of it replaced by the identity (W-MSE
    `methods/whitening.py`). NaN where the covariance has no factor, as with no more images than dimensions.
    """
    x = at_least_float32(x_GnD)
    with torch.autocast(x.device.type, enabled=False):
        centered = x - x.mean(dim=-2, keepdim=True)
        covariance = centered.mT @ centered / (x.shape[-2] - 1)
        identity = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        factor, failed = torch.linalg.cholesky_ex((1 - eps) * covariance + eps * identity)
        whitened = torch.linalg.solve_triangular(factor, centered.mT, upper=False).mT
    return torch.where((failed == 0)[..., None, None], whitened, torch.nan)
