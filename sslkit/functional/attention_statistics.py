"""Attention entropy, distance and head diversity.

B images, H heads, T tokens of which the first `prefix` are no patches, N = rows * columns patches.
Rows of attention sum to 1: `[b, h, q, k]` is what query q of head h takes of key k.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class HeadDistances(NamedTuple):
    """Pairwise distances of attention heads."""

    cosine: Tensor
    """`[B, H, H]`, 1 - cosine of the rows of two heads, mean over queries: 0 (alike) to 1 (no key in common)."""
    jensen_shannon: Tensor
    """`[B, H, H]` nats, the Jensen-Shannon divergence of the rows, mean over queries: 0 (alike) to log 2."""


def attention_entropy(attention_BHQT: Tensor) -> Tensor:
    """-sum p log p over keys in nats, `[B, H, Q]`: 0 for one key, log T for all keys alike."""
    entropy: Tensor = torch.special.entr(attention_BHQT).sum(-1)
    return entropy


def patch_distances(rows: int, columns: int) -> Tensor:
    """Euclidean distances between the centers of patches, in patches: `[N, N]` float64."""
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).double()
    differences = places[:, None] - places
    lengths: Tensor = torch.linalg.vector_norm(differences, dim=-1)
    return lengths


def attention_distance(
    attention_BHTT: Tensor, distances_NN: Tensor, prefix: int, renormalize: bool = True
) -> Tensor:
    """Mean distance between a patch and what it attends to (Dosovitskiy et al. 2021, figure 7), `[B, H]`.

    Args:
        attention_BHTT: attention among all tokens.
        distances_NN: between patches, in the unit of the result.
        prefix: class and register tokens in front; they have no place and are left out, as queries and as keys.
        renormalize: whether the rest of each row is brought to the sum 1. Without it, as in the common code of
            probing-vits, a head that looks at the class token seems local. A row with nothing on patches counts as 0.
    """
    patches = attention_BHTT[..., prefix:, prefix:]
    distances = (patches * distances_NN.to(patches)).sum(-1)
    if renormalize:
        distances = distances / patches.sum(-1).clamp(min=torch.finfo(patches.dtype).tiny)
    return distances.mean(-1)


def head_distances(attention_BHQT: Tensor) -> HeadDistances:
    """Pairwise distances of the heads of one layer, over the same queries.

    Costs B * H * (H - 1) / 2 * Q * T logarithms; the memory of H - 1 pairs of heads is held at once.
    """
    unit = F.normalize(attention_BHQT, dim=-1)
    flat = unit.flatten(2)
    products = flat @ flat.mT / unit.shape[2]
    cosine = 1 - (products + products.mT) / 2  # some processors round a product and its mirror image apart
    return HeadDistances(_without_diagonal(cosine), _divergences(attention_BHQT))


def mean_to_others(pairs_BHH: Tensor) -> Tensor:
    """Each head's mean distance to the other ones, `[B, H]`; 0 where there is one head."""
    return pairs_BHH.sum(-1) / max(pairs_BHH.shape[-1] - 1, 1)


def _divergences(attention_BHQT: Tensor) -> Tensor:
    """Jensen-Shannon: the entropy of the mean of two heads less the mean of their entropies, never below 0."""
    count = attention_BHQT.shape[1]
    entropies = attention_entropy(attention_BHQT).mean(-1)
    pairs = attention_BHQT.new_zeros(len(attention_BHQT), count, count)
    for head in range(count - 1):
        mixed = (attention_BHQT[:, head : head + 1] + attention_BHQT[:, head + 1 :]) / 2
        mean = (entropies[:, head : head + 1] + entropies[:, head + 1 :]) / 2
        pairs[:, head, head + 1 :] = (attention_entropy(mixed).mean(-1) - mean).clamp(min=0)
    return pairs + pairs.mT


def _without_diagonal(pairs_BHH: Tensor) -> Tensor:
    """A head is at exactly 0 from itself."""
    diagonal = torch.eye(pairs_BHH.shape[-1], dtype=torch.bool, device=pairs_BHH.device)
    return pairs_BHH.clamp(min=0).masked_fill(diagonal, 0.0)
