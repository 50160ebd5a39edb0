"""Tokens and masks for tests of text networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sslkit.interfaces import Draw, Mask, Transform


class Fixed(Transform):
    """Knows a vocabulary, and makes rows of nothing but padding."""

    symbols = True

    def __init__(self, facts: Mapping[str, int], length: int) -> None:
        self.facts, self.length = facts, length

    def __call__(self, samples: Sequence[Tensor], draw: Draw) -> Tensor:
        return torch.full((len(samples), self.length), self.facts["pad"], dtype=torch.int64)


def mask_of_rows(hidden: Tensor) -> Mask:
    """A mask of `[V, B, N]` bool, for `token` mode."""
    flat = hidden.flatten().nonzero()[:, 0]
    counts = hidden.sum(-1, keepdim=True).expand_as(hidden).flatten()[flat]
    return Mask(hidden, torch.empty(*hidden.shape[:2], 0, dtype=torch.int64), flat, counts)
