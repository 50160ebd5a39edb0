"""Feature regularization: uniformity, and variance with covariance."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor

from sslkit.functional import vicreg_terms
from sslkit_objectives.all_ranks import of_all_ranks


class Regularization(NamedTuple):
    """A term that is added to a loss."""

    term: Literal["variance", "uniformity"]
    weight: float
    covariance: float
    """Share of VICReg's covariance added to `variance`."""


def regularization(regularizer: Regularization, cls: Tensor) -> Tensor:
    """The term without its weight, for this rank's features `[V, B, D]`: a scalar.

    Its statistics are those of the images of all ranks, with gradient, so that two ranks equal one process; a rank
    alone would estimate them worse the more ranks there are.

    Each crop counts on its own, as those of an image may be alike.
    """
    features = of_all_ranks(cls)
    if regularizer.term == "uniformity":
        return uniformity(features).mean()
    return variance_covariance(features, regularizer.covariance).mean()


def variance_covariance(features: Tensor, share: float) -> Tensor:
    """VICReg's hinge on deviations and `share` of its squared covariances, `[V, N, D]` -> `[V]`."""
    value = vicreg_terms.variance(features)
    return value + share * vicreg_terms.covariance(features) if share else value


def uniformity(features: Tensor, t: float = 2.0) -> Tensor:
    """Wang and Isola's uniformity of directions, `[V, N, D]` -> `[V]`."""
    return vicreg_terms.uniformity(F.normalize(features, dim=-1), t)
