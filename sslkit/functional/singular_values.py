"""Singular values of features, effective rank, RankMe, participation ratio and IsoScore. N images, D width."""

from __future__ import annotations

import torch
from torch import Tensor

RANKME_EPS = 1e-7
"""Added to each share (Garrido et al. 2023, section 3)."""


def singular_values(features_ND: Tensor, centerd: bool = False) -> Tensor:
    """Singular values of `features_ND`, or of it less its mean, the largest first: `[min(N, D)]` float64.

    Costs N * D * min(N, D) operations: those of a QR decomposition, the values are those of its triangle.
    """
    x = features_ND.detach().double()
    x = x - x.mean(0) if centerd else x
    tall = x if len(x) >= x.shape[1] else x.T
    values: Tensor = torch.linalg.svdvals(torch.linalg.qr(tall, mode="r").R)
    return values


def effective_rank(values: Tensor, eps: float = 0.0) -> Tensor:
    """Exponential of the entropy of `values` over their sum (Roy and Vetterli 2007): a scalar, 0 for all zeros.

    `values` are singular values. With `eps` added to each share it is RankMe. Both are 1 for one direction and D for
    D equal ones.
    """
    shares = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny) + eps
    return torch.where(values.sum() > 0, torch.special.entr(shares).sum().exp(), 0.0)


def rankme(values: Tensor) -> Tensor:
    """RankMe (Garrido et al. 2023) from the singular values of features that are not centered: a scalar."""
    return effective_rank(values, RANKME_EPS)


def participation_ratio(variances: Tensor) -> Tensor:
    """(sum of variances)^2 / sum of their squares: a scalar from 1 to their number, 0 for all zeros.

    `variances` are those along the principal axes (Gao et al. 2017, as used by Recanatesi et al. 2019).
    """
    # over the largest, so that squares of small variances are not lost
    shares = variances / variances.max().clamp(min=torch.finfo(variances.dtype).tiny)
    return shares.sum().square() / shares.square().sum().clamp(min=torch.finfo(variances.dtype).tiny)


def isoscore(variances: Tensor, width: int) -> Tensor:
    """IsoScore (Rudman et al. 2022): 1 where all of `width` dimensions vary alike, 0 where one does: a scalar.

    Its steps come down to (participation ratio - 1) / (width - 1); for one dimension it is 1. `variances` may leave
    out those that are 0.
    """
    if width == 1:
        return torch.ones_like(variances.sum())
    return ((participation_ratio(variances) - 1) / (width - 1)).clamp(min=0)
