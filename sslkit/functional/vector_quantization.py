"""Vector quantization: nearest codes, k-means, codebook usage and perplexity. M vectors, K codes, d width.

Everything is a batched tensor operation of fixed shape. Sums are matrix products and not scattered additions, whose
order, and so whose rounding, differs from run to run on a GPU.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Tally(NamedTuple):
    """Assignments to each code."""

    counts: Tensor
    """`[K]`."""
    sums: Tensor
    """`[K, d]`, the sum of the vectors that chose a code."""


def nearest_code(vectors_Md: Tensor, codes_Kd: Tensor) -> Tensor:
    """Index of the code at the least Euclidean distance, `[M]` int64; of unit codes it has the highest cosine."""
    return (codes_Kd.square().sum(-1) - 2 * vectors_Md @ codes_Kd.T).argmin(-1)


def tally(vectors_Md: Tensor, ids_M: Tensor, count: int) -> Tally:
    """Counts and sums of the vectors of each of `count` codes."""
    one_hot = F.one_hot(ids_M, count).to(vectors_Md.dtype)
    return Tally(one_hot.sum(0), one_hot.T @ vectors_Md)


def k_means(vectors_Md: Tensor, start_Kd: Tensor, steps: int, *, unit: bool = False) -> tuple[Tensor, Tensor]:
    """Centers `[K, d]` and their counts `[K]` after `steps` of Lloyd's from `start_Kd`.

    A center that no vector chooses stays where it is. With `unit` centers are brought to length 1 in each step
    (spherical k-means, BEiT v2 `norm_ema_quantizer.py:49-83`).
    """
    centers = start_Kd
    counts = start_Kd.new_zeros(len(start_Kd))
    for _ in range(steps):
        counts, sums = tally(vectors_Md, nearest_code(vectors_Md, centers), len(centers))
        means = sums / counts.clamp(min=1)[:, None]
        means = F.normalize(means, dim=-1) if unit else means
        centers = torch.where(counts[:, None] > 0, means, centers)
    return centers, counts


def repeated(vectors_Kd: Tensor, at_once: int = 256) -> Tensor:
    """Whether a vector equals an earlier one, `[K]` bool; `at_once` vectors are compared with all at a time."""
    equal = torch.cat([(some[:, None] == vectors_Kd).all(-1) for some in vectors_Kd.split(at_once)])
    return equal.tril(-1).any(1)


def usage(counts_K: Tensor, least: float = 0.0) -> Tensor:
    """Share of the codes whose count is above `least` times an even share; 0-dim."""
    return (counts_K > least * counts_K.mean()).to(counts_K.dtype).mean()


def perplexity(counts_K: Tensor) -> Tensor:
    """Perplexity: exp of the entropy of how often codes are chosen, 1 to K; 0-dim."""
    share = counts_K / counts_K.sum().clamp(min=1e-12)
    entropy: Tensor = torch.special.entr(share).sum()
    return entropy.exp()
