"""Cross-entropies of what a student and a teacher say. S student crops, V teacher crops, B images, K prototypes."""

from __future__ import annotations

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
    return torch.special.entr(probabilities).sum(-1).mean()
