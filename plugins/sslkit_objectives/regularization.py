"""The term that keeps the features of different images apart."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from sslkit.functional import regularize
from sslkit.functional.gather import all_rows
from sslkit.functional.numeric import at_least_float32
from sslkit_objectives.regularizer import Regularizer


def regularization(spec: Regularizer, cls: Tensor) -> Tensor:
    """The term without its weight, for this rank's features `[V, B, D]`: a scalar.

    Its statistics are those of the images of all ranks, with gradient, so that two ranks equal one process; a rank
    alone would estimate them worse the more ranks there are.

    Each crop counts on its own, as those of an image may be alike.
    """
    features = all_rows(at_least_float32(cls).transpose(0, 1)).transpose(0, 1)
    if spec.term == "uniformity":
        return regularize.uniformity(F.normalize(features, dim=-1)).mean()
    value = regularize.variance(features)
    if spec.covariance:
        value = value + spec.covariance * regularize.covariance(features)
    return value.mean()
