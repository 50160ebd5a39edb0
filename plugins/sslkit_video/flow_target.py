"""Optical flow as a target. V crops, B clips, N patches, T frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, final

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.functional.patches import grid_crops, grid_patches
from sslkit.functional.regression_losses import regression
from sslkit.interfaces import Target, Tokens, to_uint8
from sslkit.plugin import Grid, View
from sslkit_video.flow_colors import flow_colors
from sslkit_video.optical_flow import optical_flow


class FlowSettings(NamedTuple):
    """How flow is computed and scored."""

    method: Literal["dis", "farneback"]
    cells: int
    """Parts of a patch along each side."""
    scale: float
    """Pixels a frame that count as 1."""
    loss: str


@final
class OpticalFlowTarget(Target):
    """Mean flow over the cells of each patch."""

    mean: Tensor
    std: Tensor

    def __init__(self, settings: FlowSettings, grid: Grid, view: View) -> None:
        super().__init__()
        self.settings, self.grid, self.cells = settings, grid, settings.cells
        self.dim = 2 * settings.cells**2
        for name, values in (("mean", view.mean), ("std", view.std)):
            table = torch.tensor(values).expand(view.channels).reshape(-1, 1, 1, 1)
            self.register_buffer(name, table, persistent=False)

    def forward(self, seen: Tokens, *more: Tokens) -> Tensor:
        """`[V, B, N, 2 * cells * cells]`: to the right and down, for each cell, row by row."""
        frames = (seen.image.float() * self.std + self.mean).clamp(0, 1).mean(2)
        flow = optical_flow(to_uint8(frames).flatten(0, 1), self.settings.method) / self.settings.scale
        moments, rows, cols = self.grid.sides
        window = (moments, rows // self.cells, cols // self.cells)
        cells = F.avg_pool3d(flow, window)
        goal: Tensor = grid_patches(cells, (1, self.cells, self.cells)).unflatten(0, seen.image.shape[:2])
        return goal

    def score(self, guess: Tensor, goal: Tensor) -> Tensor:
        """Mean error of the numbers of each patch, `[L]`."""
        return regression(guess, goal, self.settings.loss)

    def metrics(self, guess: Tensor, goal: Tensor, real: Tensor) -> Mapping[str, Tensor]:
        """In pixels a frame: how far predictions end from the goal, and how far those of no motion would."""
        return {
            "end_point_error": self._length(guess - goal, real),
            "end_point_error_of_none": self._length(goal, real),
        }

    def _length(self, flow: Tensor, real: Tensor) -> Tensor:
        lengths = flow.float().unflatten(-1, (-1, 2)).norm(dim=-1).mean(-1) * self.settings.scale
        mean: Tensor = (lengths * real).sum() / real.sum().clamp(min=1)
        return mean

    def to_image(self, guess: Tensor, seen: Tokens, *more: Tokens) -> Tensor:
        """Flows in colors, normalized as the view's clips are: `[V, B, C, T, H, W]`."""
        return self.goal_image(guess, seen)

    def goal_image(self, goal: Tensor, seen: Tokens) -> Tensor:
        """The same of the goal."""
        channels = len(self.mean)
        colors = self.colors(goal)
        shown = (
            colors[:, :, :3]
            if channels >= 3
            else colors.amax(2, keepdim=True).expand(-1, -1, channels, -1, -1, -1)
        )
        if channels > 3:
            shown = torch.cat([shown, shown[:, :, :1].expand(-1, -1, channels - 3, -1, -1, -1)], dim=2)
        return (shown - self.mean) / self.std

    def colors(self, flow: Tensor) -> Tensor:
        """`[V, B, 3, T, H, W]` in [0, 1] of `[V, B, N, dim]`: hue for direction, brightness for speed."""
        cells = grid_crops(flow.float(), self.grid.shape, (1, self.cells, self.cells))
        fields = flow_colors(cells * self.settings.scale)
        sides = (self.grid.sides[0], *(side // self.cells for side in self.grid.sides[1:]))
        for axis, side in enumerate(sides, start=3):
            fields = fields.repeat_interleave(side, dim=axis)
        return fields
