"""Feature targets: plain layer norm, standard deviation, and principal components as colors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.functional.precision import at_least_float32

SPREAD_EPS = 1e-6  # data2vec `engine_for_cyclical.py:106`
SHOWN = 0.02
"""Share of patches at either end whose colors may be cut off, so that outliers leave the others some contrast."""


def plain_layer_norm(features: Tensor) -> Tensor:
    """Layer norm over the last dimension without scale and shift, in at least float32 (data2vec, I-JEPA)."""
    return F.layer_norm(at_least_float32(features), features.shape[-1:])


def spread(rows: Tensor, real: Tensor) -> Tensor:
    """Standard deviation over the real ones of `rows` `[L, dim]`, mean over the dimensions: a scalar.

    0 means that all rows are alike. The variance is unbiased and has 1e-6 added before the root
    (data2vec's `z0`). `real` `[L]` bool.
    """
    weight = real[:, None].to(torch.float32)
    count = weight.sum()
    wide = at_least_float32(rows)
    mean = (wide * weight).sum(0) / count.clamp(min=1)
    variance = ((wide - mean).square() * weight).sum(0) / (count - 1).clamp(min=1)
    return (variance + SPREAD_EPS).sqrt().mean()


def principal_axes(rows: Tensor, count: int) -> Tensor:
    """Directions `[dim, count]` in which `rows` `[L, dim]` vary most, the most first.

    They are orthonormal, and each one's largest entry is positive. Columns past the rank of `rows` are 0.
    """
    centered = rows - rows.mean(0)
    wide = len(centered) < centered.shape[1]
    values, vectors = torch.linalg.eigh(centered @ centered.T if wide else centered.T @ centered)
    kept = min(count, len(values))
    axes = vectors.flip(-1)[:, :kept]
    if wide:
        axes = F.normalize(centered.T @ axes, dim=0)
    real = values.flip(-1)[:kept] > rows.square().sum() * torch.finfo(rows.dtype).eps
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    return F.pad(axes * largest.sign() * real, (0, count - kept))


def principal_colors(features: Tensor, goal: Tensor, channels: int) -> Tensor:
    """`features` `[..., dim]` in the first principal components of `goal` `[..., dim]`: `[..., channels]` in [0, 1].

    Both are placed on the scale of the goal, so that equal features have equal colors. A channel in which the goal
    does not vary is 0.5 throughout.
    """
    exact = goal.device if goal.device.type != "mps" else torch.device("cpu")  # which has float64
    rows = goal.detach().to(exact).double().flatten(0, -2)
    axes = principal_axes(rows, channels)
    placed = rows @ axes
    low, high = placed.quantile(SHOWN, dim=0), placed.quantile(1 - SHOWN, dim=0)
    placed = features.detach().to(exact).double() @ axes
    values = (placed - low) / torch.where(high > low, high - low, 1.0)
    return torch.where(high > low, values, 0.5).clamp(0, 1).to(goal.device, torch.float32)
