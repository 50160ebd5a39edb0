"""Patchify and unpatchify, along any number of axes. V crops, B images, C channels, (h, w) grid, p pixels a side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor

VARIANCE_EPS = 1e-6  # MAE `models_mae.py:208`


def patchify(images_VBCHW: Tensor, patch: int) -> Tensor:
    """`[V, B, C, H, W]` -> `[V, B, N, p * p * C]`, channel fastest within a patch (MAE `models_mae.py:105`)."""
    return rearrange(images_VBCHW, "v b c (h p) (w q) -> v b (h w) (p q c)", p=patch, q=patch)


def unpatchify(patches_VBND: Tensor, patch: int, rows: int) -> Tensor:
    """The inverse of `patchify` for a grid of `rows` rows."""
    return rearrange(patches_VBND, "v b (h w) (p q c) -> v b c (h p) (w q)", p=patch, q=patch, h=rows)


def grid_patches(crops: Tensor, sides: Sequence[int], *, channels_first: bool = False) -> Tensor:
    """`[..., C, *axes]` -> `[..., N, prod(sides) * C]`: patches of any number of axes, the first axis slowest.

    Args:
        crops: whole patches along each axis.
        sides: extent of a patch along each axis.
        channels_first: the order of a convolution's flattened kernel, `(C, *sides)`; else channels are fastest, as in
            `patchify`.
    """
    axes = len(sides)
    front = crops.shape[: -axes - 1]
    cut = [
        number
        for length, side in zip(crops.shape[-axes:], sides, strict=True)
        for number in (length // side, side)
    ]
    split = crops.reshape(*front, crops.shape[-axes - 1], *cut)
    first = len(front)
    places = [first + 1 + 2 * axis for axis in range(axes)]
    inside = [place + 1 for place in places]
    order = [first, *inside] if channels_first else [*inside, first]
    moved = split.permute(*range(first), *places, *order)
    return moved.flatten(first, first + axes - 1).flatten(first + 1)


def grid_crops(patches: Tensor, shape: Sequence[int], sides: Sequence[int]) -> Tensor:
    """The inverse of `grid_patches`, channels fastest, for a grid of this `shape`: `[..., C, *axes]`."""
    axes, first = len(sides), patches.ndim - 2
    split = patches.reshape(*patches.shape[:-2], *shape, *sides, -1)
    order = [first + 2 * axes]
    for axis in range(axes):
        order += [first + axis, first + axes + axis]
    moved = split.permute(*range(first), *order)
    return moved.reshape(
        *patches.shape[:-2], moved.shape[first], *(n * side for n, side in zip(shape, sides, strict=True))
    )


def patch_statistics(patches_VBND: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each patch, `[V, B, N, 1]`, for pixels normalized by patch.

    The variance is unbiased, as `torch.var` is, and has 1e-6 added (MAE `models_mae.py:205-208`).
    """
    variance = patches_VBND.var(dim=-1, keepdim=True)
    return patches_VBND.mean(dim=-1, keepdim=True), (variance + VARIANCE_EPS).sqrt()


def conv_patches(images_BCHW: Tensor, patch: int) -> Tensor:
    """`[B, C, H, W]` -> `[B, N, C * p * p]`, in the order of a convolution's flattened kernel."""
    return rearrange(images_BCHW, "b c (h p) (w q) -> b (h w) (c p q)", p=patch, q=patch)


def pixel_shuffle_order(patch: int, channels: int) -> Tensor:
    """Where `patchify` finds its values in the input of `PixelShuffle`, `[p * p * C]` int64.

    A head that ends in PixelShuffle (SimMIM) orders a patch as (channel, row, column), `patchify` as (row, column,
    channel). So `linear.weight = conv.weight.flatten(1)[order]` and `linear.bias = conv.bias[order]` turn the 1 x 1
    convolution before PixelShuffle into a linear layer that predicts `patchify`'s order.
    """
    places = torch.arange(channels * patch**2).reshape(channels, patch, patch)
    return places.permute(1, 2, 0).flatten()
