"""Feature standard deviation, a meter of representation collapse."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from sslkit.functional.precision import at_least_float32


def feature_std(features: Tensor) -> Tensor:
    """Mean over dimensions of the deviation of L2-normalized features, times sqrt(D): a scalar without gradient.

    `features` `[..., N, D]` for N images; leading dimensions (crops) count on their own and are averaged. About 1 where
    directions are spread evenly, 0 where all are alike (SimSiam, section 4.1, whose figure shows it over sqrt(D)).
    The variance is over N, so that one image gives 0.
    """
    x = F.normalize(at_least_float32(features.detach()), dim=-1)
    deviation: Tensor = x.var(dim=-2, correction=0).sqrt().mean() * math.sqrt(x.shape[-1])
    return deviation
