"""Gaussian process over patches: descriptors, covariance, and greedy selection by conditional entropy.

R rows (images), N patches, d numbers of a descriptor. Everything is in float64: choices are a chain of comparisons,
which rounding in float32, or matrix products in TF32, would turn on one device and not on another.
"""

from __future__ import annotations

import math
from functools import reduce
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor


class Patches(NamedTuple):
    """Descriptors of the patches of images."""

    cells: Tensor
    """`[R, N, d]` float64, mean of each channel over each of the patch's cells, ordered (channel, row, column)."""
    detail: Tensor
    """`[R, N]` float64, variance of the pixels within the patch, mean over channels."""


def describe(images: Tensor, patch: int, cells: int) -> Patches:
    """Describe patches of side `patch` by `cells` x `cells` averages of `[R, C, H, W]`."""
    side = patch // cells
    averages, powers = (
        rearrange(_cell_means(x, side), "r c (h u) (w v) -> r (h w) c (u v)", u=cells, v=cells)
        for x in (images, images.square())
    )
    detail = powers.mean(-1) - averages.mean(-1).square()
    return Patches(averages.flatten(-2), detail.clamp(min=0).mean(-1))


def _cell_means(x: Tensor, side: int) -> Tensor:
    """Means over squares of `side` pixels, in float64, `[..., H, W]` -> `[..., H / side, W / side]`.

    Float32 numbers are added one by one, in an order that is the same on every device.
    """
    tall = reduce(torch.add, x.unflatten(-2, (-1, side)).unbind(-2))
    sums: Tensor = reduce(torch.add, tall.unflatten(-1, (-1, side)).unbind(-1))
    means: Tensor = sums.double() / side**2
    return means


def covariance(inputs: Tensor, deviation: Tensor, noise: float) -> Tensor:
    """`K_ij = s_i s_j exp(-|x_i - x_j|² / 2) + noise [i = j]`, `[R, N, N]`.

    Args:
        inputs: `[R, N, m]`, x in units of the kernel's length.
        deviation: `[R, N]`, s, above 0.
        noise: variance that is each patch's own.
    """
    log_scale = deviation.log() - inputs.square().sum(-1) / 2
    kernel = torch.matmul(inputs, inputs.mT).add_(log_scale[:, :, None]).add_(log_scale[:, None, :]).exp_()
    kernel.diagonal(dim1=-2, dim2=-1).add_(noise)
    return kernel


def choose(cov: Tensor, first: Tensor, count: int, sign: float, bias: Tensor) -> Tensor:
    """Choose `count` patches one after another by their entropy given those chosen before, `[R, N]` bool.

    A step takes the patch of the highest `sign * log(conditional variance) / 2 + bias`. With sign -1 it adds least to
    the entropy of the chosen set, the log-determinant of its covariance, with +1 most. A Cholesky factor of the
    chosen rows grows by one row a step, which makes a step a product of a vector and a matrix.

    Args:
        cov: `[R, N, N]`.
        first: `[R]` int64, the first choice.
        count: choices in each row.
        sign: -1 or 1.
        bias: `[R, N]`, added to the scores: noise, or 0.
    """
    variance = cov.diagonal(dim1=-2, dim2=-1).clone()
    factor = cov.new_empty(cov.shape[0], count, cov.shape[-1])
    selected = torch.zeros_like(variance, dtype=torch.bool)
    pick = first[:, None]
    for k in range(count):
        selected = selected.scatter(1, pick, True)
        row = cov.gather(1, pick[:, None].expand(-1, 1, cov.shape[-1]))
        weights = factor[:, :k].gather(2, pick[:, None].expand(-1, k, 1))
        row = torch.baddbmm(row, weights.mT, factor[:, :k], alpha=-1).squeeze(1)
        factor[:, k] = row / variance.gather(1, pick).sqrt()
        variance = (variance - factor[:, k].square()).clamp(min=torch.finfo(cov.dtype).tiny)
        score = variance.log().mul_(sign / 2).add_(bias).masked_fill_(selected, -math.inf)
        pick = score.argmax(-1, keepdim=True)
    return selected


def places(rows: int, cols: int) -> Tensor:
    """Row and column of each patch, `[N, 2]` float64."""
    return torch.cartesian_prod(
        torch.arange(rows, dtype=torch.float64), torch.arange(cols, dtype=torch.float64)
    )
