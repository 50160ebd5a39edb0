"""HOG targets."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, final

from einops import rearrange
from torch import Tensor

from sslkit.functional.hog import conventional_hog, draw_hog, glyphs, hog
from sslkit.functional.regression_losses import regression
from sslkit.interfaces import Target, Tokens
from sslkit.nn.pixel_statistics import PixelNormalization
from sslkit.plugin import Grid, View

GLYPH = 8
"""Fewest pixels of the side of a glyph in figures."""


class Cells(NamedTuple):
    """How gradients are counted."""

    bins: int
    """Orientations."""
    size: int
    """Side of a cell, in pixels; it divides the patch."""
    variant: Literal["slowfast", "conventional"]
    """Arithmetic of MaskFeat's reference, or scikit-image's."""


@final
class HOGTarget(Target):
    """Histograms of a patch's cells in SlowFast's order (channel, bin, row of cells, column of cells)."""

    lines: Tensor

    def __init__(self, cells: Cells, loss: str, grid: Grid, view: View) -> None:
        super().__init__()
        self.cells, self.loss, self.grid, self.channels = cells, loss, grid, view.channels
        self.dim = view.channels * cells.bins * (grid.patch // cells.size) ** 2
        self.histograms = hog if cells.variant == "slowfast" else conventional_hog
        lines = glyphs(
            cells.bins, cells.size * math.ceil(GLYPH / cells.size), swapped=cells.variant == "slowfast"
        )
        self.register_buffer("lines", lines, persistent=False)
        self.normalize = PixelNormalization(view.mean, view.std)

    def forward(self, seen: Tokens, *more: Tokens) -> Tensor:
        """`[V, B, N, dim]`."""
        values = self.histograms(seen.image, self.cells.bins, self.cells.size)
        return rearrange(
            values, "v b c k (h p) (w q) -> v b (h w) (c k p q)", h=self.grid.rows, w=self.grid.cols
        )

    def score(self, guess: Tensor, goal: Tensor) -> Tensor:
        """Mean error over the histograms of each patch, `[L]`."""
        return regression(guess, goal, self.loss)

    def to_image(self, guess: Tensor, seen: Tokens, *more: Tokens) -> Tensor:
        """A glyph in every cell, each channel in its own color: `[V, B, C, k H, k W]`, k above 1 for small cells."""
        along = self.grid.patch // self.cells.size
        sides = {"h": self.grid.rows, "c": self.channels, "k": self.cells.bins, "p": along}
        values = rearrange(guess, "v b (h w) (c k p q) -> v b c k (h p) (w q)", **sides)
        image: Tensor = self.normalize(draw_hog(values, self.lines))
        return image

    def goal_image(self, goal: Tensor, seen: Tokens) -> Tensor:
        """The glyphs of the goal."""
        return self.to_image(goal, seen)
