"""Positions of cubelets. N of them, T moments of S places, D width."""

from __future__ import annotations

import math
from typing import Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.nn.sincos import flat_positions, grid_positions
from sslkit.plugin import Grid

Kind = Literal["sincos", "flat", "learned", "separable"]


@final
class Positions(nn.Module):
    """One table, or one of places and one of moments; learned ones begin with deviation 0.02 (MAE-ST)."""

    fixed: Tensor

    def __init__(self, kind: Kind, grid: Grid, width: int) -> None:
        super().__init__()
        self.kind, self.shape, self.width = kind, grid.shape, width
        moments, places = grid.shape[0], math.prod(grid.shape[1:])
        if kind in ("sincos", "flat"):
            fixed = (
                grid_positions(width, grid.shape) if kind == "sincos" else flat_positions(width, grid.patches)
            )
            self.register_buffer("fixed", fixed.to(torch.get_default_dtype()), persistent=False)
        elif kind == "learned":
            self.table = nn.Parameter(nn.init.trunc_normal_(torch.empty(grid.patches, width), std=0.02))
        else:
            self.spatial = nn.Parameter(nn.init.trunc_normal_(torch.empty(places, width), std=0.02))
            self.temporal = nn.Parameter(nn.init.trunc_normal_(torch.empty(moments, width), std=0.02))

    def forward(self, shape: tuple[int, ...]) -> Tensor:
        """`[N, D]` for a grid of this `shape`; learned tables of another one are interpolated, fixed ones made anew."""
        if self.kind in ("sincos", "flat"):
            return self.fixed if shape == self.shape else self._fixed(shape).to(self.fixed)
        if self.kind == "separable":
            spatial = _resized(self.spatial, self.shape[1:], shape[1:])
            return (_resized(self.temporal, self.shape[:1], shape[:1])[:, None] + spatial[None]).flatten(0, 1)
        return _resized(self.table, self.shape, shape)

    def _fixed(self, shape: tuple[int, ...]) -> Tensor:
        return (
            grid_positions(self.width, shape)
            if self.kind == "sincos"
            else flat_positions(self.width, math.prod(shape))
        )

    @torch.no_grad()
    def begin(self, places: Tensor) -> bool:
        """Take learned positions `[S, D]` of images, the same in every moment; False where positions are fixed."""
        if self.kind == "separable":
            self.spatial.copy_(places)
            self.temporal.zero_()
        elif self.kind == "learned":
            self.table.copy_(places.repeat(len(self.table) // len(places), 1))
        return self.kind in ("learned", "separable")


def _resized(table: Tensor, old: tuple[int, ...], new: tuple[int, ...]) -> Tensor:
    """A table `[N, D]` of a grid of shape `old`, linearly interpolated along each axis."""
    if old == new:
        return table
    modes = {1: "linear", 2: "bilinear", 3: "trilinear"}
    square = table.T.reshape(1, -1, *old)
    return F.interpolate(square, new, mode=modes[len(old)], align_corners=False)[0].flatten(1).T
