"""Cross-entropy between student and teacher crops. S student crops, V teacher crops, B images, K prototypes."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def cross_entropy(scores: Tensor, goal: Tensor) -> Tensor:
    """-sum_k goal_k log softmax(scores)_k, `[..., K]` -> `[...]`, for a `goal` that sums to 1."""
    return scores.logsumexp(-1) - (goal * scores).sum(-1)


def between_crops(scores_SBK: Tensor, goal_VBK: Tensor) -> Tensor:
    """Mean cross-entropy over all pairs of a student crop and another teacher crop, and over images: a scalar.

    The first V student crops are those that the teacher sees. Equal to the sum of `cross_entropy` over the V (S - 1)
    pairs, of which it is the mean, in time that does not grow with their number (DINO `DINOLoss`).
    """
    views, crops = len(goal_VBK), len(scores_SBK)
    normalizers = scores_SBK.logsumexp(-1)
    others = scores_SBK.sum(0) - scores_SBK[:views]
    total: Tensor = views * normalizers.sum(0) - normalizers[:views].sum(0) - (goal_VBK * others).sum((0, -1))
    return total.mean() / (views * (crops - 1))


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
