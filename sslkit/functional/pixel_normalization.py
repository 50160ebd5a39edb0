"""Pixel normalization by channel means and deviations, and back to colors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def channel_statistics(
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    axes: int = 2,
) -> tuple[Tensor, Tensor]:
    """Mean and deviation of every channel, each `[C, 1, ...]` for so many axes, on `device`."""
    first, second = (torch.tensor(values, dtype=dtype, device=device) for values in (mean, std))
    return first.reshape(-1, *(1,) * axes), second.reshape(-1, *(1,) * axes)


def normalized(images: Tensor, mean: Sequence[float], std: Sequence[float], axes: int = 2) -> Tensor:
    """`images` `[..., C, *axes]` in [0, 1], as networks read them; two `axes` of images."""
    shift, scale = channel_statistics(mean, std, images.device, images.dtype, axes)
    return (images - shift) / scale


def unnormalized(images: Tensor, mean: Sequence[float], std: Sequence[float], axes: int = 2) -> Tensor:
    """Pixels in [0, 1] of `images` `[..., C, *axes]` that were normalized; two `axes` of images."""
    shift, scale = channel_statistics(mean, std, images.device, images.dtype, axes)
    return (images * scale + shift).clamp(0, 1)


def as_rgb(pixels: Tensor, show: Sequence[int] | None = None) -> Tensor:
    """`[..., 3, H, W]` of `[..., C, H, W]`.

    `show`: the channels that become red, green and blue. Default: the first three; one channel is gray, and of two the
    first.
    """
    if show is not None:
        return pixels[..., list(show), :, :]
    if pixels.shape[-3] >= 3:
        return pixels[..., :3, :, :]
    return pixels[..., :1, :, :].expand(*pixels.shape[:-3], 3, *pixels.shape[-2:])
