"""Feature regularization: uniformity, and variance with covariance."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from sslkit.functional import vicreg_terms
from sslkit.functional.all_gather import all_rows
from sslkit.functional.precision import at_least_float32
from sslkit_objectives.specs.regularizer_terms import Regularizer


def regularization(spec: Regularizer, cls: Tensor) -> Tensor:
    """The term without its weight, for this rank's features `[V, B, D]`: a scalar.

    Its statistics are those of the images of all ranks, with gradient, so that two ranks equal one process; a rank
    alone would estimate them worse the more ranks there are.

    Each crop counts on its own, as those of an image may be alike.
    """
    features = of_all_ranks(cls)
    if spec.term == "uniformity":
        return uniformity(features).mean()
    return variance_covariance(features, spec.covariance).mean()


def of_all_ranks(cls: Tensor) -> Tensor:
    """`[V, B, D]` of this rank -> `[V, N, D]` of all, with gradient, in at least float32."""
    return all_rows(at_least_float32(cls).transpose(0, 1)).transpose(0, 1)


def variance_covariance(features: Tensor, share: float) -> Tensor:
    """VICReg's hinge on deviations and `share` of its squared covariances, `[V, N, D]` -> `[V]`."""
    value = vicreg_terms.variance(features)
    return value + share * vicreg_terms.covariance(features) if share else value


def uniformity(features: Tensor, t: float = 2.0) -> Tensor:
    """Wang and Isola's uniformity of directions, `[V, N, D]` -> `[V]`."""
    return vicreg_terms.uniformity(F.normalize(features, dim=-1), t)
