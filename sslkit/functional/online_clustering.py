"""Assignments of patches to prototypes (CAPI). P positions, B images, K prototypes."""

from __future__ import annotations

import torch
from torch import Tensor

from sslkit.functional.all_gather import all_rows
from sslkit.functional.precision import at_least_float32

LARGEST = 50.0
"""Exponent of the largest entry of a prototype (CAPI `model.py`, `stable_exp`)."""
EPS = 1e-8
"""Added to every sum, so that prototypes of hardly any weight stay without (CAPI `sinkhorn_knopp`)."""


@torch.no_grad()
def balanced_assignments(
    logits_PBK: Tensor, temperature: float, iterations: int = 3, *, positionwise: bool = True
) -> Tensor:
    """Assignments in which prototypes share the images of all ranks evenly, at each position apart.

    Sinkhorn-Knopp on exp(logits / temperature): first over images, then over prototypes. Unlike `sinkhorn`, sums have
    `EPS` added, so a row may sum to less than 1.

    Args:
        logits_PBK: This rank's; every rank must call with as many.
        temperature: Divides the logits (CAPI: 0.06).
        iterations: Rounds (CAPI: 3).
        positionwise: Otherwise positions and images share the prototypes together.

    Returns:
        `[P, B, K]` in at least float32 without gradient.
    """
    scores = at_least_float32(logits_PBK) / temperature
    rows = scores if positionwise else scores.flatten(0, 1)
    largest = all_rows(rows.amax(-2, keepdim=True)[None]).amax(0)
    shares = (rows - largest + LARGEST).exp()
    for _ in range(iterations):
        shares = shares / (all_rows(shares.sum(-2, keepdim=True)[None]).sum(0) + EPS)
        shares = shares / (shares.sum(-1, keepdim=True) + EPS)
    return shares.view_as(scores)


def assignment_error(scores: Tensor, goal: Tensor) -> Tensor:
    """-sum_k goal_k log softmax(scores)_k, `[..., K]` -> `[...]`; rows of `goal` need not sum to 1."""
    return -(goal * scores.to(goal.dtype).log_softmax(-1)).sum(-1)
