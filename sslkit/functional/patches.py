"""Images to patches and back. V crops, B images, C channels, (h, w) grid, p pixels a patch side."""

from __future__ import annotations

from einops import rearrange
from torch import Tensor


def patchify(images_VBCHW: Tensor, patch: int) -> Tensor:
    """`[V, B, C, H, W]` -> `[V, B, N, p * p * C]`, channel fastest within a patch (MAE `models_mae.py:105`)."""
    return rearrange(images_VBCHW, "v b c (h p) (w q) -> v b (h w) (p q c)", p=patch, q=patch)


def unpatchify(patches_VBND: Tensor, patch: int, rows: int) -> Tensor:
    """The inverse of `patchify` for a grid of `rows` rows."""
    return rearrange(patches_VBND, "v b (h w) (p q c) -> v b c (h p) (w q)", p=patch, q=patch, h=rows)


def conv_patches(images_BCHW: Tensor, patch: int) -> Tensor:
    """`[B, C, H, W]` -> `[B, N, C * p * p]`, in the order of a convolution's flattened kernel."""
    return rearrange(images_BCHW, "b c (h p) (w q) -> b (h w) (c p q)", p=patch, q=patch)
