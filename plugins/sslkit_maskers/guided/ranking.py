"""Masks of an exact count from patch scores."""

from __future__ import annotations

import torch
from torch import Tensor

from sslkit.interfaces import Draw


def ranks(scores: Tensor, noise: Tensor) -> Tensor:
    """Place of each patch by falling `scores` `[*rows, N]`, 0 for the highest; equal ones by falling `noise`."""
    first = noise.argsort(dim=-1, descending=True, stable=True)
    order = first.gather(-1, scores.gather(-1, first).argsort(dim=-1, descending=True, stable=True))
    return order.argsort(dim=-1)


def hide_highest(draw: Draw, scores: Tensor, guided: int, most: int, shown: Tensor | None = None) -> Tensor:
    """Hidden patches, `[*rows, N]` bool: `most` in every image.

    Args:
        draw: breaks ties, and chooses the patches that scores do not.
        scores: `[*rows, N]`; of equal ones, random ones are taken.
        guided: patches hidden because their scores are the highest, at most `most`.
        most: patches hidden in all; those beyond `guided` are chosen uniformly at random from the rest.
        shown: `[*rows, N]` bool, patches that stay visible, at most N - `most` in every image. Default: none.
    """
    patches = scores.shape[-1]
    open_ = scores if shown is None else scores.masked_fill(shown, -torch.inf)
    certain = (ranks(open_, draw.uniform(patches)) < guided).to(torch.int8)
    wanted = certain if shown is None else certain - shown.to(torch.int8)
    return ranks(wanted, draw.uniform(patches)) < most
