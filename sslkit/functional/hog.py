"""Histograms of oriented gradients: MaskFeat's, and the conventional ones of Dalal and Triggs.

`...` are any leading dimensions; the channel, if there is one, is among them: every channel has histograms of its own.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from sslkit.functional.precision import at_least_float32

CONVENTIONAL_EPS = 1e-5  # scikit-image `_hog.py`, `_hog_normalize_block`


class Votes(NamedTuple):
    """What each pixel adds to the histogram of its cell."""

    weight: Tensor
    """`[..., H, W]`, magnitude of the gradient."""
    bin: Tensor
    """`[..., H, W]` int64, the bin that gets it."""


def hog(images: Tensor, bins: int = 9, cell: int = 8) -> Tensor:
    """MaskFeat's histograms (SlowFast `models/operators.py`, `HOGLayerC`), `[..., H, W]` -> `[..., bins, h, w]`.

    Sobel gradients with reflected borders; votes of whole magnitudes; sums over cells of `cell` x `cell` pixels;
    each histogram divided by its Euclidean norm. `h` and `w` are `H / cell` and `W / cell`. At least float32.
    """
    return F.normalize(histograms(sobel_votes(images, bins), bins, cell), dim=-3)


def conventional_hog(images: Tensor, bins: int = 9, cell: int = 8) -> Tensor:
    """`skimage.feature.hog` of each channel with cells as blocks and `L2`: `[..., H, W]` -> `[..., bins, h, w]`.

    Central differences, 0 at the borders; votes of whole magnitudes; means over cells; each histogram divided by
    sqrt(squared norm + 1e-10), so that flat cells stay near 0. At least float32.
    """
    mean = histograms(central_votes(images, bins), bins, cell) / cell**2
    return mean / (mean.square().sum(-3, keepdim=True) + CONVENTIONAL_EPS**2).sqrt()


def sobel_votes(images: Tensor, bins: int) -> Votes:
    """Votes of Sobel gradients, with `atan2(gx, gy)`: the angle is taken from the vertical axis (SlowFast's order)."""
    gx, gy = sobel_gradients(images)
    return Votes((gx.square() + gy.square()).sqrt(), _bin(torch.atan2(gx, gy), bins))


def sobel_gradients(images: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients across and down, `[..., H, W]` each, with reflected borders. At least float32.

    Differences come before sums, so that equal neighbors give an exact 0.
    """
    x = at_least_float32(images)
    flat = F.pad(x.reshape(-1, 1, *x.shape[-2:]), (1, 1, 1, 1), mode="reflect")
    padded = flat.reshape(*x.shape[:-2], *flat.shape[-2:])
    across = padded[..., :, :-2] - padded[..., :, 2:]
    down = padded[..., :-2, :] - padded[..., 2:, :]
    gx = across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]
    gy = down[..., :, :-2] + 2 * down[..., :, 1:-1] + down[..., :, 2:]
    return gx, gy


def central_votes(images: Tensor, bins: int) -> Votes:
    """Votes of central differences, with `atan2(down, across)`: the angle is taken from the horizontal axis."""
    x = at_least_float32(images)
    across = F.pad(x[..., :, 2:] - x[..., :, :-2], (1, 1, 0, 0))
    down = F.pad(x[..., 2:, :] - x[..., :-2, :], (0, 0, 1, 1))
    return Votes(torch.hypot(across, down), _bin(torch.atan2(down, across), bins))


def histograms(votes: Votes, bins: int, cell: int) -> Tensor:
    """Sums of votes over cells, `[..., H, W]` -> `[..., bins, h, w]`.

    A sum for each bin, since a scatter adds in another order on every run of a GPU.
    """
    weight, index = (rearrange(v, "... (h p) (w q) -> ... h w (p q)", p=cell, q=cell) for v in votes)
    zero = weight.new_zeros(())
    return torch.stack([torch.where(index == b, weight, zero).sum(-1) for b in range(bins)], dim=-3)


def glyphs(bins: int, cell: int, *, swapped: bool) -> Tensor:
    """A line for each bin, `[bins, cell, cell]` float32 in [0, 1]: along the edge, at right angles to the gradient.

    `swapped`: the angle is taken from the vertical axis, as in `sobel_votes`.
    """
    angle = (torch.arange(bins) + 0.5) * (math.pi / bins)
    across, down = (angle.sin(), angle.cos()) if swapped else (angle.cos(), angle.sin())
    place = torch.arange(cell) - (cell - 1) / 2
    row, col = torch.meshgrid(place, place, indexing="ij")
    off_line = (col * across[:, None, None] + row * down[:, None, None]).abs()
    inside = (row.square() + col.square()).sqrt() <= cell / 2
    return (1 - off_line).clamp(min=0) * inside


def draw_hog(values: Tensor, lines: Tensor) -> Tensor:
    """Histograms `[..., bins, h, w]` as lines of their strength, `[..., H, W]` in [0, 1], with `lines` of `glyphs`."""
    drawn = torch.einsum(
        "...bhw,bpq->...hpwq", at_least_float32(values).clamp(min=0), lines.to(values.device)
    )
    return drawn.flatten(-2).flatten(-3, -2).clamp(max=1)


def _bin(angle: Tensor, bins: int) -> Tensor:
    """Bins of width pi / bins; opposite directions share one."""
    return (angle / math.pi * bins).floor().long() % bins
