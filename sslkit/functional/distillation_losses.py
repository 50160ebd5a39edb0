"""Losses of self-distillation. S student crops, V teacher crops, B images, K prototypes."""

from __future__ import annotations

from torch import Tensor

from sslkit.functional.precision import at_least_float32


def centered(logits: Tensor, center: Tensor | None, temperature: Tensor | float) -> Tensor:
    """A teacher's probabilities for `logits` `[..., K]`, less their moving mean `[K]`; in at least float32 (DINO)."""
    wide = at_least_float32(logits)
    return ((wide if center is None else wide - center) / temperature).softmax(-1)


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
