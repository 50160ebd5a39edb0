"""Random affine augmentation."""

from __future__ import annotations

import math
from typing import Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.interfaces import Augment, Draw

Padding = Literal["zeros", "border"]


@final
class RandomAffineAugment(Augment):
    """Slants, rotates and scales about the center, then shifts; bilinear."""

    def __init__(
        self,
        degrees: float,
        translate: float,
        scale: tuple[float, float],
        padding: Padding,
        shear: float = 0.0,
    ) -> None:
        self.degrees = degrees
        self.translate = translate
        self.scale = scale
        self.padding = padding
        self.shear = shear

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        maps = self._maps(draw, images.shape[-2] / images.shape[-1])
        grid = F.affine_grid(maps, list(images.shape), align_corners=False)
        sampled = F.grid_sample(images, grid, mode="bilinear", padding_mode=self.padding, align_corners=False)
        return sampled.clamp(0, 1)

    def _maps(self, draw: Draw, aspect: float) -> Tensor:
        """`[B, 2, 3]`: where each result pixel comes from, in coordinates that run from -1 to 1 on both axes.

        `aspect` is height / width: an angle is an angle only after the axes are brought to one unit.
        """
        angle = draw.uniform(low=-self.degrees, high=self.degrees) * (math.pi / 180)
        shift_x, shift_y = (2 * draw.uniform(2, low=-self.translate, high=self.translate)).unbind(-1)
        scale = draw.uniform(low=self.scale[0], high=self.scale[1])
        cos, sin = angle.cos() / scale, angle.sin() / scale
        x_row = torch.stack([cos, sin * aspect, -cos * shift_x - sin * aspect * shift_y], -1)
        y_row = torch.stack([-sin / aspect, cos, sin / aspect * shift_x - cos * shift_y], -1)
        if self.shear:  # drawn last and only then: what has no shear keeps its random numbers
            slant = draw.uniform(low=-self.shear, high=self.shear) * (math.pi / 180)
            x_row = x_row + (slant.tan() * aspect).unsqueeze(-1) * y_row
        return torch.stack([x_row, y_row], -2)
