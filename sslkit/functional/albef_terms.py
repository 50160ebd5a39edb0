"""Terms of ALBEF (Li et al. 2021): contrast with soft targets, matching with hard negatives, masked words.

B pairs, L candidates, T tokens of a text, W words of the vocabulary, D width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.functional.precision import at_least_float32

IGNORED = -100
"""Label of tokens that do not count, as `torch.nn.functional.cross_entropy` has it."""


def itc(
    queries: Tensor,
    candidates: Tensor,
    momentum_queries: Tensor,
    temperature: Tensor | float,
    alpha: Tensor | float,
    first: int = 0,
) -> Tensor:
    """Image-text contrast: cross-entropy with alpha softmax(similarities of the moving average) + (1 - alpha) one-hot.

    One direction; ALBEF takes the mean of both, and candidates of the other modality: those that the moving
    average makes of the batch, then a queue of earlier ones.

    Args:
        queries: `[B, D]` of length 1.
        candidates: `[L, D]` of length 1; row `first + i` belongs to query i.
        momentum_queries: `[B, D]` of length 1, which the moving average makes of the same inputs.
        temperature: what cosines are divided by, of queries and targets alike (ALBEF: learned from 0.07).
        alpha: share of the soft targets (ALBEF: 0.4, reached linearly over the first epoch).
        first: row of the first query's partner.

    Returns:
        A scalar, in at least float32.
    """
    mine, theirs = at_least_float32(queries), at_least_float32(momentum_queries)
    places = torch.arange(first, first + len(mine), device=mine.device)
    with torch.autocast(mine.device.type, enabled=False):
        every = candidates.to(mine.dtype).mT
        with torch.no_grad():
            target = alpha * ((theirs @ every) / temperature).softmax(1)
            hit = torch.arange(every.shape[1], device=mine.device) == places[:, None]
            target = target + (1 - alpha) * hit.to(target.dtype)
        return -(target * ((mine @ every) / temperature).log_softmax(1)).sum(1).mean()


@torch.no_grad()
def negative_weights(similarities: Tensor) -> Tensor:
    """Chances of each column to be a row's negative, `[B, B]`: the softmax of a row, 0 on the diagonal.

    They need not sum to 1. A row whose every other chance is 0 in the type at hand gets equal ones, where the
    reference's draw raises an error.

    Args:
        similarities: `[B, B]`, cosines over the temperature, of each row with the batch of the other modality.
    """
    diagonal = torch.eye(len(similarities), dtype=torch.bool, device=similarities.device)
    weights = at_least_float32(similarities).softmax(1).masked_fill(diagonal, 0.0)
    return torch.where(weights.sum(1, keepdim=True) > 0, weights, (~diagonal).to(weights.dtype))


@torch.no_grad()
def draw_negatives(weights: Tensor, uniform: Tensor) -> Tensor:
    """One column of each row, `[B]` int64, with the chances `weights` `[B, B]`.

    Args:
        weights: at least 0, of any sum above 0.
        uniform: `[B]` in [0, 1), one for each row.
    """
    sums = weights.double().cumsum(1)
    # The first column whose sum exceeds the draw, so never one of weight 0; the last such one if rounding is at odds.
    places = (sums <= uniform.double()[:, None] * sums[:, -1:]).sum(1)
    return places.minimum((sums < sums[:, -1:]).sum(1))


def itm(logits: Tensor) -> Tensor:
    """Image-text matching: mean cross-entropy of `[3B, 2]` logits, B pairs that match first, then 2B that do not.

    Returns:
        A scalar, in at least float32; pairs that match weigh 1/3, as in the reference.
    """
    match = torch.arange(len(logits), device=logits.device) < len(logits) // 3
    return F.cross_entropy(at_least_float32(logits), match.long())


def mlm(
    logits: Tensor,
    labels: Tensor,
    momentum_logits: Tensor | None = None,
    alpha: Tensor | float = 0.0,
) -> Tensor:
    """Masked language modelling: mean over tokens to be guessed, 0 where there is none.

    Args:
        logits: `[..., W]`.
        labels: `[...]` int64, the word, or -100 where nothing is to be guessed.
        momentum_logits: `[..., W]` of the moving average for the same masked text, which get no gradient.
        alpha: share of its softmax in the targets (ALBEF: 0.4; BERT: 0).

    Returns:
        A scalar, in at least float32.
    """
    log_chances = at_least_float32(logits).log_softmax(-1)
    asked = (labels != IGNORED).to(log_chances.dtype)
    words = labels.clamp(min=0)[..., None]
    losses = -log_chances.gather(-1, words)[..., 0]
    if momentum_logits is not None:
        goal = at_least_float32(momentum_logits.detach()).softmax(-1)
        losses = (1 - alpha) * losses - alpha * (goal * log_chances).sum(-1)
    return (losses * asked).sum() / asked.sum().clamp(min=1)
