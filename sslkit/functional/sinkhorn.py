"""Sinkhorn-Knopp: balanced assignments of images to prototypes. M rows, K prototypes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sslkit.functional.all_gather import all_rows
from sslkit.functional.precision import at_least_float32


@torch.no_grad()
def sinkhorn(
    logits_MK: Tensor, temperature: Tensor | float, iterations: int = 3, real_M: Tensor | None = None
) -> Tensor:
    """Probabilities of each row over prototypes, where all prototypes share the rows of all ranks nearly evenly.

    Alternately scales exp(logits / temperature) so that every prototype has the same sum over rows, and then every
    row over prototypes (SwAV, DINOv2 `sinkhorn_knopp_teacher`). The factors are kept as logarithms: the references
    overflow in float32 where logits / temperature exceeds 88.

    Args:
        logits_MK: This rank's rows; every rank must call with as many.
        temperature: Divides the logits (SwAV calls it epsilon: 0.05).
        iterations: Rounds (SwAV, DINOv2: 3).
        real_M: Booleans, false for rows that only fill a fixed shape up. They count for no prototype.

    Returns:
        `[M, K]` in at least float32 without gradient; each row sums to 1.
    """
    scores = at_least_float32(logits_MK) / temperature
    absent = None if real_M is None else torch.where(real_M, 0.0, -math.inf)[:, None]
    rows, prototypes = scores.new_zeros(len(scores), 1), scores.new_zeros(scores.shape[1])
    for _ in range(iterations):
        left = scores - rows
        sums = _over_ranks((left if absent is None else left + absent).logsumexp(0))
        prototypes = torch.where(sums.isfinite(), sums, 0.0)  # -inf where no row at all is real
        rows = (scores - prototypes).logsumexp(1, keepdim=True)
    return (scores - prototypes - rows).exp()


def _over_ranks(sums_K: Tensor) -> Tensor:
    """Logarithms of the sums over all ranks, from those of this one."""
    return all_rows(sums_K[None]).logsumexp(0)
