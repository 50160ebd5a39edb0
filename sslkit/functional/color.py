"""Color jitter, grayscale and solarization of images in [0, 1], as torchvision's. B images, C channels, H x W pixels.

Factors are `[B, 1, 1, 1]`. Multiplications and additions are separate operations throughout: fused ones round
differently in the vectorized part of a loop and in its tail, so an image would depend on its place in a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import torch
from torch import Tensor

from sslkit.errors import DataError
from sslkit.functional.row_subsets import cachefuls, put, runs, take

LUMA = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in a gray value (torchvision `rgb_to_grayscale`, after ITU-R 601)."""
OPERATIONS = ("brightness", "contrast", "saturation", "hue")
"""What a color jitter does, in the order of its factors."""
_HUE = OPERATIONS.index("hue")
_TINY = 1e-8


def require_color(images_BCHW: Tensor, name: str) -> bool:
    """Whether the images have colors: three channels, not one.

    Raises:
        DataError: they have another number of channels.
    """
    channels = images_BCHW.shape[-3]
    if channels not in (1, 3):
        raise DataError(f"{name}: the images have {channels} channels; colors need 3, and gray images have 1")
    return channels == 3


def luma(images_BCHW: Tensor) -> Tensor:
    """Gray values `[B, 1, H, W]`; gray images as they are, and the mean of two channels or of more than three."""
    channels = images_BCHW.shape[-3]
    if channels == 1:
        return images_BCHW
    if channels != 3:
        return images_BCHW.mean(-3, keepdim=True)
    red, green, blue = images_BCHW.split(1, dim=-3)
    gray: Tensor = (red * LUMA[0]).add_(green * LUMA[1]).add_(blue * LUMA[2])
    return gray


def grayscale(images_BCHW: Tensor) -> Tensor:
    """Gray in every channel, `[B, C, H, W]`; gray images as they are."""
    return luma(images_BCHW).expand_as(images_BCHW)


def brightness(images_BCHW: Tensor, factor_B111: Tensor) -> Tensor:
    """Every value times the factor, clamped: 0 is black, 1 changes nothing."""
    return _brighten_(_copy(images_BCHW), factor_B111)


def contrast(images_BCHW: Tensor, factor_B111: Tensor) -> Tensor:
    """Away from the image's mean gray value, clamped: 0 is that gray, 1 changes nothing."""
    return _contrast_(_copy(images_BCHW), factor_B111)


def saturation(images_BCHW: Tensor, factor_B111: Tensor) -> Tensor:
    """Away from each pixel's gray value, clamped: 0 is gray, 1 changes nothing. Gray images stay as they are."""
    return _saturate_(_copy(images_BCHW), factor_B111)


def hue(images_BCHW: Tensor, shift_B111: Tensor) -> Tensor:
    """Turns hues by a share of the color circle, -0.5 to 0.5. Gray images stay as they are.

    The same function as a way to HSV and back, without that way: the largest and smallest channel stay, and the
    three channels are triangle waves between them at the turned hue.
    """
    return _turn_(_copy(images_BCHW), shift_B111)


def solarize(images_BCHW: Tensor, threshold: float) -> Tensor:
    """Inverts the values from `threshold` on; |1 - x| there and |0 - x| elsewhere."""
    above = torch.ge(images_BCHW, threshold, out=torch.empty_like(images_BCHW))
    return above.sub_(images_BCHW).abs_()


def jitter(
    images_BCHW: Tensor,
    factors_B4: Tensor,
    order_B4: Tensor,
    selected_B: Tensor,
    used: Sequence[str] = OPERATIONS,
) -> Tensor:
    """Brightness, contrast, saturation and hue, each image with its own factors and its own order.

    On a CPU, images of one order are worked on together, a cacheful at a time. Elsewhere every image goes
    through the same operations, of fixed shapes: three that blend, the hue, three that blend, and what an image's
    order does not have at a place is done there with the factor that changes nothing.

    Args:
        images_BCHW: float32 images in [0, 1], not changed.
        factors_B4: Factors of `OPERATIONS`; 1 changes nothing, of the hue 0.
        order_B4: Which operation comes first, second, ...: a permutation of 0 .. 3 for each image.
        selected_B: Booleans: images where it is false are returned as they are.
        used: The operations that are done at all.

    Returns:
        `[B, C, H, W]` in [0, 1].
    """
    if images_BCHW.device.type == "cpu":
        return _jitter_grouped(images_BCHW, factors_B4, order_B4, selected_B, used)
    return jitter_fixed(images_BCHW, factors_B4, order_B4, selected_B, used)


def jitter_fixed(
    images_BCHW: Tensor,
    factors_B4: Tensor,
    order_B4: Tensor,
    selected_B: Tensor,
    used: Sequence[str] = OPERATIONS,
) -> Tensor:
    """`jitter` with the same operations of the same shapes for any order."""
    place = order_B4.argsort(-1)  # of each operation
    hue_place = place[:, _HUE]
    blends = place[:, :_HUE].argsort(-1)  # the blends, in the order of their places
    jittered = images_BCHW
    for late in (False, True):
        if late and "hue" in used:
            jittered = hue(jittered, factors_B4[:, _HUE, None, None, None])
        for which in blends.unbind(-1):
            after = place.gather(1, which[:, None])[:, 0] > hue_place
            factor = factors_B4.gather(1, which[:, None])[:, 0]
            jittered = _any_blend(jittered, which, torch.where(after == late, factor, 1.0), used)
    return torch.where(selected_B[:, None, None, None], jittered, images_BCHW)


def _jitter_grouped(
    images_BCHW: Tensor, factors_B4: Tensor, order_B4: Tensor, selected_B: Tensor, used: Sequence[str]
) -> Tensor:
    """Sorted by their orders, images of one operation lie side by side, and slices of them are worked on in place."""
    orders = order_B4.tolist()
    members = sorted(selected_B.nonzero().flatten().tolist(), key=lambda row: _PLACE[tuple(orders[row])])
    changed = _copy(images_BCHW)
    for rows in cachefuls(members, images_BCHW[:1].numel()):
        images, factors = take(changed, rows), take(factors_B4, rows)[..., None, None, None]
        listed = range(rows.start, rows.stop) if isinstance(rows, slice) else rows.tolist()
        for operations in zip(*(orders[row] for row in listed), strict=True):
            for which, run in runs(operations):
                if OPERATIONS[which] in used:
                    _OPERATION[which](images[run], factors[run, which])
        put(changed, rows, images)
    return changed


def _any_blend(images_BCHW: Tensor, which_B: Tensor, factor_B: Tensor, used: Sequence[str]) -> Tensor:
    """Brightness, contrast or saturation, as `which_B` says: blends with black, with the mean gray, with gray."""
    factor, which = factor_B[:, None, None, None], which_B[:, None, None, None]
    gray = luma(images_BCHW)
    if images_BCHW.shape[-3] == 1:
        factor = torch.where(which == 2, 1.0, factor)
    other = torch.where(which == 2, gray, torch.where(which == 1, _mean(gray), 0.0))
    active = torch.tensor([name in used for name in OPERATIONS], device=images_BCHW.device)[which]
    return _blend(images_BCHW, other, torch.where(active, factor, 1.0))


def _blend(images_BCHW: Tensor, other: Tensor, factor_B111: Tensor) -> Tensor:
    return (images_BCHW * factor_B111).add_(other * (1 - factor_B111)).clamp_(0, 1)


def _mean(gray_B1HW: Tensor) -> Tensor:
    """`[B, 1, 1, 1]`; by rows first, whose sums do not depend on the number of threads."""
    total = gray_B1HW.sum(-1, keepdim=True).sum(-2, keepdim=True)
    return total / (gray_B1HW.shape[-1] * gray_B1HW.shape[-2])


def _copy(images_BCHW: Tensor) -> Tensor:
    return images_BCHW.clone(memory_format=torch.contiguous_format)


def _brighten_(images_BCHW: Tensor, factor_B111: Tensor) -> Tensor:
    return images_BCHW.mul_(factor_B111).clamp_(0, 1)


def _contrast_(images_BCHW: Tensor, factor_B111: Tensor) -> Tensor:
    gray = luma(_mean(images_BCHW))  # the mean of gray values is the gray value of the means
    return images_BCHW.mul_(factor_B111).add_(gray * (1 - factor_B111)).clamp_(0, 1)


def _saturate_(images_BCHW: Tensor, factor_B111: Tensor) -> Tensor:
    if images_BCHW.shape[-3] == 1:
        return images_BCHW
    gray = luma(images_BCHW).mul_(1 - factor_B111)
    return images_BCHW.mul_(factor_B111).add_(gray).clamp_(0, 1)


def _turn_(images_BCHW: Tensor, shift_B111: Tensor) -> Tensor:
    if images_BCHW.shape[-3] == 1:
        return images_BCHW
    hue_B1HW, chroma, low, top = _cylinder(images_BCHW)
    turned = hue_B1HW.add_(shift_B111 + 1).frac_().mul_(6)
    # a wave is full within 1/6 of the circle around its own hue, none within 1/6 of the opposite one
    opposite_or_own = torch.tensor([3.0, 2.0, 4.0], device=images_BCHW.device)[:, None, None]
    torch.sub(turned, opposite_or_own, out=images_BCHW)
    images_BCHW.abs_().sub_(1).clamp_(0, 1).mul_(chroma)
    red, others = images_BCHW.split([1, 2], dim=-3)
    red.add_(low)
    torch.sub(top, others, out=others)
    return images_BCHW


def _cylinder(images_BCHW: Tensor) -> Tensor:
    """`[4, B, 1, H, W]`: hue as a share of the circle, 0 without a color; chroma; smallest and largest channel.

    Comparisons are kept as 0 or 1 in float32: selecting by booleans is many times slower on a CPU. The memory is taken
    once, so that it stays in the cache.
    """
    red, green, blue = images_BCHW.split(1, dim=-3)
    buffer = torch.empty((6, *red.shape), dtype=red.dtype, device=red.device)
    hue_B1HW, chroma, low, top, swapped, middle = buffer.unbind()
    torch.maximum(green, blue, out=middle)
    torch.minimum(green, blue, out=low)
    torch.lt(green, blue, out=swapped)
    torch.lt(red, middle, out=hue_B1HW)
    torch.maximum(red, middle, out=top)
    torch.minimum(red, middle, out=middle)
    # the hue of red >= green >= blue grows with (green - blue); swapping two channels mirrors the circle
    torch.mul(swapped, 12, out=chroma)
    hue_B1HW.mul_(chroma.sub_(2)).sub_(swapped.mul_(6))
    across = torch.sub(middle, low, out=swapped)
    torch.minimum(low, middle, out=low)
    torch.sub(top, low, out=chroma)
    across.div_(torch.clamp(chroma, min=_TINY, out=middle))
    hue_B1HW.add_(across).abs_().div_(6)
    return buffer[:4]


def _kinship(order: tuple[int, ...]) -> tuple[int, int, int]:
    """Neighbors by this have the hue at one place, and start or end with the same of the other operations."""
    first, _, last = (which for which in order if which != _HUE)
    return order.index(_HUE), first, (last - first) % 3


_PLACE = {order: i for i, order in enumerate(sorted(permutations(range(len(OPERATIONS))), key=_kinship))}
"""Of an order among all orders: images that lie so need the fewest calls."""

_OPERATION = (_brighten_, _contrast_, _saturate_, _turn_)
"""In place, in the order of `OPERATIONS`."""
