"""Gaussian blur as products with band matrices. B images, C channels, H x W pixels, taps K = 2 radius + 1."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Edge = Literal["reflect", "replicate", "zeros"]

BLOCK = 56
"""Columns made at once on a CPU: wider bands are mostly zeros, narrower ones repeat their margins."""

_NOTHING = 1e-12
"""Smaller weights cannot show in float32, and a CPU is many times slower with numbers close to its smallest one."""

_MODES: dict[Edge, str] = {"reflect": "reflect", "replicate": "replicate", "zeros": "constant"}


def gaussian_taps(sigma_B: Tensor, radius: int) -> Tensor:
    """Weights `[B, 2 radius + 1]` that sum to 1; `sigma_B` in pixels."""
    distance = torch.arange(-radius, radius + 1, device=sigma_B.device, dtype=sigma_B.dtype)
    weights = torch.exp(-0.5 * (distance / sigma_B[:, None]) ** 2)
    weights = weights * (weights > _NOTHING)
    return weights / weights.sum(-1, keepdim=True)


def gaussian_blur(images_BCHW: Tensor, sigma_B: Tensor, radius: int, edge: Edge = "reflect") -> Tensor:
    """Blur every image with its own `sigma_B`, in pixels, rows and columns apart.

    Args:
        images_BCHW: float32 images in [0, 1].
        sigma_B: Standard deviations, above 0.
        radius: Taps on either side of the middle one; not more than the image leaves room to reflect.
        edge: What lies outside: the image mirrored (torchvision), its edge repeated (PIL), or black (SimCLR, BYOL).

    Returns:
        `[B, C, H, W]` in [0, 1].
    """
    count, channels, height, width = images_BCHW.shape
    radius = min(radius, height - 1, width - 1)
    if radius < 1:
        return images_BCHW
    block = BLOCK if images_BCHW.device.type == "cpu" else max(height, width)
    taps_BK = gaussian_taps(sigma_B, radius)
    padded = F.pad(images_BCHW, (radius,) * 4, mode=_MODES[edge])
    rows = _along_columns(padded.reshape(count, -1, width + 2 * radius), taps_BK, block)
    rows_BCHW = rows.reshape(count, channels, -1, width)
    return _along_rows(rows_BCHW, taps_BK, block).clamp_(0, 1)


def _along_columns(padded_BRW: Tensor, taps_BK: Tensor, block: int) -> Tensor:
    margin = taps_BK.shape[1] - 1
    width = padded_BRW.shape[-1] - margin
    band, blocks = _band(taps_BK, min(block, width)), []
    for start in range(0, width, block):
        size = min(block, width - start)
        part = padded_BRW[..., start : start + size + margin]
        blocks.append(torch.bmm(part, band[:, : size + margin, :size]))
    return torch.cat(blocks, dim=-1) if len(blocks) > 1 else blocks[0]


def _along_rows(padded_BCHW: Tensor, taps_BK: Tensor, block: int) -> Tensor:
    margin = taps_BK.shape[1] - 1
    height = padded_BCHW.shape[-2] - margin
    band, blocks = _band(taps_BK, min(block, height)).mT.unsqueeze(1), []
    for start in range(0, height, block):
        size = min(block, height - start)
        part = padded_BCHW[:, :, start : start + size + margin]
        blocks.append(torch.matmul(band[..., :size, : size + margin], part))
    return torch.cat(blocks, dim=-2) if len(blocks) > 1 else blocks[0]


def _band(taps_BK: Tensor, size: int) -> Tensor:
    """`[B, size + K - 1, size]`: column j holds the taps from row j on, and zeros."""
    return F.pad(taps_BK, (size - 1, size - 1)).unfold(-1, size, 1).flip(-1)
