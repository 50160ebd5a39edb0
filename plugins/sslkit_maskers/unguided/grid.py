"""Grid masking: one visible patch in every cell of a coarser grid."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from sslkit.interfaces import Draw, Masker, Scene
from sslkit.plugin import Grid


@final
class GridSampler(Masker):
    """Keeps one patch of every cell: the first one, or one at random. Cells at the edges may be cut."""

    def __init__(self, grid: Grid, cell: int, jitter: bool) -> None:
        super().__init__()
        self.grid, self.cell, self.jitter = grid, cell, jitter
        self.down, self.across = -(-grid.rows // cell), -(-grid.cols // cell)
        self.visible: int | None = self.down * self.across
        self.most = grid.patches - self.down * self.across

    def sample(self, draw: Draw, scene: Scene) -> Tensor:
        shape = (*draw.shape, self.down, self.across)
        y = self._starts(self.down, draw.device)[:, None].expand(shape)
        x = self._starts(self.across, draw.device).expand(shape)
        if self.jitter:
            y = y + self._offsets(draw, self.grid.rows - y)
            x = x + self._offsets(draw, self.grid.cols - x)
        kept = (y * self.grid.cols + x).flatten(-2)
        hidden = torch.ones(*draw.shape, self.grid.patches, dtype=torch.bool, device=draw.device)
        return hidden.scatter(-1, kept, False)

    def _starts(self, cells: int, device: torch.device) -> Tensor:
        """First row or column of each cell."""
        return torch.arange(cells, device=device) * self.cell

    def _offsets(self, draw: Draw, rest: Tensor) -> Tensor:
        """Offsets within each cell, which ends where the grid has only `rest` more rows or columns."""
        return (draw.uniform(self.down, self.across) * rest.clamp(max=self.cell)).long()
