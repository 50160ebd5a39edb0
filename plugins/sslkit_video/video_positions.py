"""Positions of cubelets. N of them, T moments of S places, D width."""

from __future__ import annotations

import math
from typing import Literal, final

import torch
from torch import Tensor, nn

from sslkit.nn.sincos import flat_positions, grid_positions
from sslkit.plugin import Grid

Kind = Literal["sincos", "flat", "learned", "separable"]


@final
class Positions(nn.Module):
    """One table, or one of places and one of moments; learned ones begin with deviation 0.02 (MAE-ST)."""

    def __init__(self, kind: Kind, grid: Grid, width: int) -> None:
        super().__init__()
        self.kind = kind
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

    def forward(self) -> Tensor:
        """`[N, D]`."""
        if self.kind == "separable":
            return (self.temporal[:, None] + self.spatial[None]).flatten(0, 1)
        table: Tensor = self.table if self.kind == "learned" else self.fixed
        return table

    @torch.no_grad()
    def begin(self, places: Tensor) -> bool:
        """Take learned positions `[S, D]` of images, the same in every moment; False where positions are fixed."""
        if self.kind == "separable":
            self.spatial.copy_(places)
            self.temporal.zero_()
        elif self.kind == "learned":
            self.table.copy_(places.repeat(len(self.table) // len(places), 1))
        return self.kind in ("learned", "separable")
