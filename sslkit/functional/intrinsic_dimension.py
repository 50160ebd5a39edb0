"""Intrinsic dimension: TwoNN and the maximum-likelihood estimate. N images, D width, k neighbors."""

from __future__ import annotations

import torch
from torch import Tensor

from sslkit.functional.alignment_uniformity import squared_distances

BLOCK = 1 << 22
"""Distances held at once: 32 MB in float64."""


def neighbor_distances(features_ND: Tensor, k: int) -> Tensor:
    """Euclidean distances of each row to its `k` nearest other rows, nearest first: `[N, k]` float64.

    Neighbors are found by matrix products in float64 and their distances taken from the differences, so that copies of
    an image are at exactly 0. Costs N * N * D operations; a block of rows against all is held at once.

    Raises:
        ValueError: `k` is not in 1 .. N - 1.
    """
    count = len(features_ND)
    if not 1 <= k < count:
        raise ValueError(f"`k` must be in 1 .. {count - 1}, the other rows of `features_ND`; found {k}")
    x = features_ND.detach().double()
    x = x - x.mean(0)  # smaller numbers, smaller errors of their products
    size = max(1, BLOCK // max(count, k * x.shape[1]))
    return torch.cat([_nearest(x, start, size, k) for start in range(0, count, size)])


def _nearest(x_ND: Tensor, start: int, size: int, k: int) -> Tensor:
    rows = x_ND[start : start + size]
    rough = squared_distances(rows, x_ND)
    columns = torch.arange(start, start + len(rows), device=rough.device)
    rough.scatter_(1, columns[:, None], torch.inf)  # of each row itself
    others = x_ND[rough.topk(k, dim=1, largest=False).indices]
    exact: Tensor = torch.linalg.vector_norm(others - rows[:, None], dim=-1)
    return exact.sort(dim=1).values


def two_nn(distances_Nk: Tensor, discard: float = 0.1) -> Tensor:
    """TwoNN (Facco et al. 2017): the dimension by the ratios of second to first distance, a scalar.

    For locally uniform data, P(ratio < m) = 1 - m^-d. d is the slope through the origin of -log(1 - F) over log
    ratio, F the share of ratios that are no larger.

    Args:
        distances_Nk: to at least two neighbors, nearest first. Copies of an image (distance 0) are left out.
        discard: share of the largest ratios that are left out of the fit (the paper: 0.1), in (0, 1).

    Returns:
        The dimension, 0 where fewer than two images are left.
    """
    kept = distances_Nk[distances_Nk[:, 0] > 0]
    count = int(len(kept) * (1 - discard))
    if count < 2:
        return distances_Nk.new_zeros(())
    log_ratio = (kept[:, 1] / kept[:, 0]).log().sort().values[:count]
    below = torch.arange(1, count + 1, device=kept.device, dtype=kept.dtype) / len(kept)
    return -(log_ratio * torch.log1p(-below)).sum() / log_ratio.square().sum()


def likelihood_dimension(distances_Nk: Tensor) -> Tensor:
    """Levina and Bickel's (2004) maximum-likelihood estimate from k neighbors, a scalar.

    Each image's is (k - 1) / sum of log(T_k / T_j) over its distances T_j. Images are put together by the harmonic
    mean, which is the likelihood's own (MacKay and Ghahramani 2005), and not by the mean of the paper, which is biased.

    Args:
        distances_Nk: to at least two neighbors, nearest first. Images with a copy (distance 0) are left out.

    Returns:
        The dimension, 0 where no image is left.
    """
    kept = distances_Nk[distances_Nk[:, 0] > 0]
    if len(kept) == 0:
        return distances_Nk.new_zeros(())
    inverse = (kept[:, -1:] / kept).log().sum(1) / (kept.shape[1] - 1)
    return 1 / inverse.mean()
