"""Antialiased resizing of one float image on a CPU, as weighted sums of its rows. C channels, S output side, K taps.

`F.interpolate` takes three to four times as long for floats as for bytes. Sums of rows are what embedding bags are, and
torch has vector kernels for those; columns are rows once the image is transposed.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.functional.resize import KERNELS, SUPPORT, Box, Interpolation, pair_of

STEP = 32
"""Widths of what is summed are multiples of it: torch compiles a kernel for each that it meets."""
LENGTHS = 256
"""Sides of boxes whose weights are kept: to compute them takes as long as a small crop."""


def widened(box: Box, width: int) -> Box:
    """`box` with columns beside it, which cost nothing to speak of, up to a multiple of `STEP` or all `width`."""
    columns = min(width, -(-box.width // STEP) * STEP)
    return box._replace(left=min(box.left, width - columns), width=columns)


def resize_floats(
    image_CHW: Tensor, box: Box, size: int | tuple[int, int], interpolation: Interpolation
) -> Tensor:
    """Cut one image to `box` and resize it to `size`, antialiased, within a rounding of float32.

    Args:
        image_CHW: float32, in any layout; the result is the same in all. Of what lies in the rows of `box` everything
            is read, so cut a large image with `widened` before.
        box: what is cut, inside the image.
        size: side of the result, or its height and width.
        interpolation: kernel.

    Returns:
        `[C, *size]` float32. Bicubic results may leave the range of the input by a little.
    """
    channels, width = image_CHW.shape[0], image_CHW.shape[2]
    rows, columns_out = pair_of(size)
    rows_CHW = image_CHW[:, box.top : box.top + box.height]
    index_SK, weight_SK = _taps(box.height, rows, interpolation)
    rows_HD = rows_CHW.permute(1, 2, 0).reshape(box.height, width * channels)  # as decoders leave it
    summed = _sums(rows_HD, index_SK, weight_SK)
    columns = summed.t().reshape(width, channels * rows)
    index_SK, weight_SK = _taps(box.width, columns_out, interpolation)
    return _sums(columns, index_SK + box.left, weight_SK).t().view(channels, rows, columns_out)


def _sums(rows_ND: Tensor, index_BK: Tensor, weight_BK: Tensor) -> Tensor:
    """`[B, D]`: K rows times their weights, in the order of `index_BK`."""
    return F.embedding_bag(index_BK, rows_ND, per_sample_weights=weight_BK, mode="sum")


@lru_cache(LENGTHS)
def _taps(length: int, size: int, interpolation: Interpolation) -> tuple[Tensor, Tensor]:
    """Which of `length` pixels each of `size` results is summed of, `[S, K]` int32, and their weights, float32."""
    scale = length / size
    reach = max(scale, 1.0) * SUPPORT[interpolation]
    count = min(math.ceil(2 * reach), length)
    center_S1 = torch.arange(0.5, size, dtype=torch.float64).mul_(scale)[:, None]
    first_S1 = (center_S1 - (reach - 0.5)).floor_().clamp_(0, length - count)
    pixel_SK = first_S1 + torch.arange(count, dtype=torch.float64)
    distance_SK = (pixel_SK - (center_S1 - 0.5)).abs_().div_(max(scale, 1.0))
    weight_SK = KERNELS[interpolation](distance_SK)
    weight_SK /= weight_SK.sum(1, keepdim=True)
    return pixel_SK.int(), weight_SK.float()
