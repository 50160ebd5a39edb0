"""SIGReg: how far random projections of features are from a standard normal (LeJEPA, `rbalestr-lab/lejepa`).

V crops, N images, D width, S directions, T frequencies. Computed in at least float32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.functional.precision import at_least_float32


def epps_pulley(projections: Tensor, frequencies: int = 17, limit: float = 3.0) -> Tensor:
    """Epps and Pulley's statistic of normality with mean 0 and variance 1, `[..., N, S]` -> `[..., S]`.

    N times the squared distance of the empirical characteristic function from that of a standard normal, weighed by
    exp(-t^2 / 2) and integrated over t from -`limit` to `limit` by the trapezoid rule. It grows with N, as does the
    authors' (`univariate/epps_pulley.py`).

    Args:
        projections: one-dimensional samples, N of each.
        frequencies: points from 0 to `limit` (authors: 17).
        limit: the largest frequency (authors: 3).
    """
    x = at_least_float32(projections)
    t = torch.linspace(0, limit, frequencies, dtype=x.dtype, device=x.device)
    normal = torch.exp(-t.square() / 2)
    # One frequency at a time: a tensor of all is 17 times as large, and took two to three times as long on a CPU.
    means = [(angles.cos().mean(-2), angles.sin().mean(-2)) for angles in (x * frequency for frequency in t)]
    real, imaginary = (torch.stack(part, dim=-1) for part in zip(*means, strict=True))
    distance = ((real - normal).square() + imaginary.square()) * normal
    # Both functions are even or odd in t, so that the half above 0 counts twice.
    return 2 * torch.trapezoid(distance, t, dim=-1) * x.shape[-2]


def sigreg(features: Tensor, directions: Tensor, frequencies: int = 17, limit: float = 3.0) -> Tensor:
    """The mean over directions of `epps_pulley`, `[..., N, D]` -> `[...]`.

    Features are neither centered nor scaled. Of normal ones it is about 1.05, whatever N.

    Args:
        features: of N images.
        directions: `[D, S]`, of any length; they are brought to length 1.
        frequencies: of `epps_pulley`.
        limit: of `epps_pulley`.
    """
    x = at_least_float32(features)
    with torch.autocast(x.device.type, enabled=False):
        projections = x @ F.normalize(directions.to(x.dtype), dim=0)
    return epps_pulley(projections, frequencies, limit).mean(-1)
