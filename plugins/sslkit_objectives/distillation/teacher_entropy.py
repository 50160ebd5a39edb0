"""Entropies of teacher outputs, as meters of collapse. V teacher crops, B images, K prototypes."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def entropy(probabilities: Tensor) -> Tensor:
    """Mean entropy of rows `[..., K]`, in nats: a scalar, at most ln K."""
    value: Tensor = torch.special.entr(probabilities).sum(-1).mean()
    return value


def entropy_shares(goal_VBK: Tensor) -> dict[str, Tensor]:
    """Meters of collapse: scalars from 0 to 1.

    `teacher_entropy_share`: mean entropy of rows over ln K; at 1 every row is uniform.
    `prototype_entropy_share`: entropy of the mean row over ln K, or over the logarithm of the number of rows where
    they are fewer; at 0 one prototype takes all.
    """
    rows_LK = goal_VBK.flatten(0, -2)
    rows, prototypes = rows_LK.shape
    used = entropy(rows_LK.mean(0)) / math.log(max(2, min(rows, prototypes)))
    return {
        "teacher_entropy_share": entropy(rows_LK) / math.log(max(2, prototypes)),
        "prototype_entropy_share": used.clamp(max=1),
    }
