"""Flow as colors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

FULL = 2.0
"""Pixels a frame that are shown in full brightness."""


def flow_colors(flow: Tensor) -> Tensor:
    """`[..., 3, T, H, W]` in [0, 1] of flow `[..., 2, T, H, W]` in pixels: hue tells direction, brightness speed.

    Red is to the right, then yellow-green is down, cyan to the left and violet up.
    """
    right, down = flow.unbind(-4)
    hue = torch.atan2(down, right) / (2 * math.pi) % 1
    bright = (torch.hypot(right, down) / FULL).clamp(0, 1)
    wheel = [((hue * 6 + shift) % 6 - 3).abs() - 1 for shift in (0.0, 4.0, 2.0)]
    return torch.stack([part.clamp(0, 1) * bright for part in wheel], dim=-4)
