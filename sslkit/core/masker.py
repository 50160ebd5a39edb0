"""Maskers: which patches to hide."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from sslkit.core.draw import Draw
from sslkit.core.passes import Mask


class Masker(ABC):
    """A sampler of hidden patches."""

    visible: int | None
    """Patches left visible in every image; None if that varies. `drop` mode needs a number."""
    most: int
    """Most patches ever hidden in an image; fixes the shapes that a compiled graph sees."""

    @abstractmethod
    def sample(self, draw: Draw) -> Tensor:
        """Hidden patches of each row of `draw`, `[*rows, N]` bool. All randomness comes from `draw`."""


def make_mask(masker: Masker, draw: Draw) -> Mask:
    """Sample a `Mask` of fixed shapes for the `[V, B]` images of `draw`, without a device sync."""
    hidden = masker.sample(draw)
    rows = draw.rows.numel()
    kept = masker.visible or 0
    keep = torch.sort(hidden.to(torch.int8), dim=-1, stable=True).indices[..., :kept]
    flat = hidden.flatten()
    length = rows * masker.most
    if masker.visible is None:
        index = torch.sort((~flat).to(torch.int8), stable=True).indices[:length]
    else:
        index = _hidden_of_equal_counts(hidden, masker.most)
    count = (flat * hidden.sum(-1, keepdim=True).expand_as(hidden).flatten())[index]
    return Mask(hidden, keep, index, count)


def _hidden_of_equal_counts(hidden: Tensor, count: int) -> Tensor:
    """Flat indices of the hidden patches where every image hides `count`."""
    total = hidden.shape[-1]
    order = torch.sort((~hidden).to(torch.int8), dim=-1, stable=True).indices[..., :count]
    start = (
        torch.arange(math.prod(hidden.shape[:-1]), device=hidden.device).reshape(*hidden.shape[:-1], 1)
        * total
    )
    return (order + start).flatten()
