"""Image similarity: PSNR and SSIM. B images, C channels, H x W pixels in [0, 1]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.functional.blur import gaussian_taps

WINDOW, SIGMA = 11, 1.5
"""Of SSIM's Gaussian window, in pixels (Wang et al. 2004)."""
C1, C2 = 0.01**2, 0.03**2
"""What keeps SSIM's quotients finite (Wang et al. 2004: K1 = 0.01, K2 = 0.03)."""
LEAST = 1e-10
"""Mean squared error from which on images count as equal: 100 dB."""


def psnr(images_BCHW: Tensor, goals_BCHW: Tensor, counted_BHW: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio -10 log10(mean squared error) of each image, in dB, at most 100.

    Args:
        images_BCHW: pixels in [0, 1].
        goals_BCHW: what they should be.
        counted_BHW: bool, the pixels that are compared. Default: all.

    Returns:
        `[B]`; 100 where no pixel is compared.
    """
    error = (images_BCHW - goals_BCHW).square().mean(1)
    if counted_BHW is None:
        mean = error.mean((1, 2))
    else:
        counted = counted_BHW.to(error.dtype)
        mean = (error * counted).sum((1, 2)) / counted.sum((1, 2)).clamp(min=1)
    return -10 * mean.clamp(min=LEAST).log10()


def ssim(images_BCHW: Tensor, goals_BCHW: Tensor) -> Tensor:
    """Mean structural similarity of each image (Wang, Bovik, Sheikh and Simoncelli 2004), 1 where it equals its goal.

    Channels apart, a Gaussian window of 11 x 11 pixels and deviation 1.5, at the places where it lies inside the image.
    Images of fewer pixels get the widest odd window that fits.

    Args:
        images_BCHW: pixels in [0, 1].
        goals_BCHW: what they should be.

    Returns:
        `[B]`.
    """
    side = min(WINDOW, *images_BCHW.shape[-2:])
    taps = gaussian_taps(images_BCHW.new_tensor([SIGMA]), (side - 1) // 2)[0]
    channels = images_BCHW.shape[1]
    x, y = images_BCHW, goals_BCHW
    means = _smooth(torch.cat([x, y, x * x, y * y, x * y], dim=1), taps).split(channels, dim=1)
    mean_x, mean_y, square_x, square_y, product = means
    variance = square_x - mean_x.square() + square_y - mean_y.square()
    covariance = product - mean_x * mean_y
    likeness = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    similarity: Tensor = likeness / ((mean_x.square() + mean_y.square() + C1) * (variance + C2))
    return similarity.mean((1, 2, 3))


def _smooth(images_BCHW: Tensor, taps_K: Tensor) -> Tensor:
    """Weighted means of windows inside the images."""
    channels = images_BCHW.shape[1]
    column = taps_K.view(1, 1, -1, 1).expand(channels, -1, -1, -1)
    row = taps_K.view(1, 1, 1, -1).expand(channels, -1, -1, -1)
    return F.conv2d(F.conv2d(images_BCHW, column, groups=channels), row, groups=channels)
