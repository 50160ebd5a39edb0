"""Word-to-patch maps: where in an image a prompt is. N images, C prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, final

from matplotlib.figure import Figure
from torch import Tensor

from sslkit.functional.pixel_normalization import as_rgb, unnormalized
from sslkit.plugin import View

DPI = 150
PICTURE = 1.1
"""Inches of a map."""
MOST_PROMPTS = 10
"""Prompts that have a column; of more, the first."""


@final
class WordMaps(NamedTuple):
    """Images, and the cosine of each of their patches with each prompt."""

    images: Tensor
    """`[N, channels, H, W]`, normalized."""
    maps: Tensor
    """`[N, C, rows, columns]`."""
    words: Sequence[str]
    view: View

    def draw(self, path: Path) -> None:
        """A row for each image: itself, and the heat of each prompt over it, all of a row on one scale.

        Args:
            path: the PNG; it is replaced.
        """
        words = list(self.words[:MOST_PROMPTS])
        width, height = len(words) + 1, len(self.images)
        figure = Figure(figsize=(PICTURE * width, PICTURE * height + 0.25), dpi=DPI, layout="constrained")
        panels = figure.subplots(height, width, squeeze=False)
        pixels = unnormalized(self.images, self.view.mean, self.view.std)
        pictures = as_rgb(pixels, self.view.show).movedim(1, -1)
        for row, picture, maps in zip(panels, pictures, self.maps, strict=True):
            low, high = float(maps.min()), float(maps.max())
            for panel in row:
                panel.imshow(picture.numpy(), interpolation="nearest")
            over = (-0.5, picture.shape[1] - 0.5, picture.shape[0] - 0.5, -0.5)
            for panel, heat in zip(row[1:], maps, strict=False):
                panel.imshow(heat.numpy(), cmap="inferno", vmin=low, vmax=high, alpha=0.65, extent=over)
        for panel, title in zip(panels[0], ["image", *words], strict=True):
            panel.set_title(title[:20], fontsize=8)
        for panel in panels.flat:
            panel.set_axis_off()
        figure.savefig(path, format="png", dpi=DPI)
