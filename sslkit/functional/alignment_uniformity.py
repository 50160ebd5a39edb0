"""Alignment, uniformity and mean cosine of features on the sphere. N images, D width; features of length 1."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sslkit.functional.precision import at_least_float32
from sslkit.functional.vicreg_terms import uniformity

BLOCK = 1 << 22
"""Pairs held at once: 16 MB in float32."""


def alignment(x: Tensor, y: Tensor, alpha: float = 2.0) -> Tensor:
    """Wang and Isola's mean over positive pairs of ||x - y||^alpha: `[..., N, D]` twice -> `[...]`.

    Default alpha: the authors' (`align_uniform/__init__.py`).
    """
    difference = at_least_float32(x) - at_least_float32(y)
    distance: Tensor = torch.linalg.vector_norm(difference, dim=-1).pow(alpha).mean(-1)
    return distance


def uniformity_in_blocks(features_ND: Tensor, t: float = 2.0) -> Tensor:
    """`regularize.uniformity` of many images, a scalar: all pairs are counted, but never held at once.

    Costs N * N * D operations and the memory of one block of rows against all.

    Raises:
        ValueError: there are fewer than two images.
    """
    count = len(features_ND)
    if count < 2:
        raise ValueError(f"`features_ND` must have at least 2 rows, to make a pair; found {count}")
    x = at_least_float32(features_ND)
    size = max(2, BLOCK // count)
    totals = []
    for start in range(0, count, size):
        rows, later = x[start : start + size], x[start + size :]
        if len(rows) > 1:
            totals.append(uniformity(rows, t) + math.log(len(rows) * (len(rows) - 1) / 2))
        if len(later):
            totals.append((-t * squared_distances(rows, later)).logsumexp((0, 1)))
    return torch.stack(totals).logsumexp(0) - math.log(count * (count - 1) / 2)


def squared_distances(x_MD: Tensor, y_ND: Tensor) -> Tensor:
    """||x - y||^2 of every pair by one matrix product, `[M, N]`; at least 0."""
    with torch.autocast(x_MD.device.type, enabled=False):
        products = x_MD @ y_ND.T
    return (x_MD.square().sum(1)[:, None] + y_ND.square().sum(1) - 2 * products).clamp(min=0)


def mean_cosine(features_ND: Tensor) -> Tensor:
    """Mean cosine of all pairs of different images: a scalar float64, 0 where directions cancel, 1 where all are alike.

    It is the anisotropy of Ethayarajh (2019), over all pairs and not a sample: the length of the sum tells it in N * D
    operations.
    """
    x, count = features_ND.double(), len(features_ND)
    return (x.sum(0).square().sum() - x.square().sum()) / (count * (count - 1))
