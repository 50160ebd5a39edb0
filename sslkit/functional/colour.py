"""Changes of colour of images in [0, 1], as torchvision defines them. B images, C channels, H x W pixels.

Factors are `[B, 1, 1, 1]`. Multiplications and additions are separate operations throughout: fused ones round
differently in the vectorized part of a loop and in its tail, so an image would depend on its place in a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sslkit.errors import DataError
from sslkit.functional.rows import cachefuls, put, take

LUMA = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in a grey value (torchvision `rgb_to_grayscale`, after ITU-R 601)."""
OPERATIONS = ("brightness", "contrast", "saturation", "hue")
"""What a colour jitter does, in the order of its factors."""
_HUE = OPERATIONS.index("hue")
_TINY = 1e-8


def require_colour(images_BCHW: Tensor, name: str) -> bool:
    """Whether the images have colours: three channels, not one.

    Raises:
        DataError: they have another number of channels.
    """
    channels = images_BCHW.shape[-3]
    if channels not in (1, 3):
        raise DataError(
            f"{name}: the images have {channels} channels; colours need 3, and grey images have 1"
        )
    return channels == 3


def luma(images_BCHW: Tensor) -> Tensor:
    """Grey values `[B, 1, H, W]`; grey images as they are."""
    if images_BCHW.shape[-3] == 1:
        return images_BCHW
    red, green, blue = images_BCHW.split(1, dim=-3)
    grey: Tensor = (red * LUMA[0]).add_(green * LUMA[1]).add_(blue * LUMA[2])
    return grey


def grayscale(images_BCHW: Tensor) -> Tensor:
    """Grey in every channel, `[B, C, H, W]`; grey images as they are."""
    return luma(images_BCHW).expand_as(images_BCHW)


def brightness(images_BCHW: Tensor, factor_B111: Tensor) -> Tensor:
    """Every value times the factor, clamped: 0 is black, 1 changes nothing."""
    return (images_BCHW * factor_B111).clamp_(0, 1)


def contrast(images_BCHW: Tensor, factor_B111: Tensor) -> Tensor:
    """Away from the image's mean grey value, clamped: 0 is that grey, 1 changes nothing."""
    return _blend(images_BCHW, _mean_luma(images_BCHW), factor_B111)


def saturation(images_BCHW: Tensor, factor_B111: Tensor) -> Tensor:
    """Away from each pixel's grey value, clamped: 0 is grey, 1 changes nothing. Grey images stay as they are."""
    if images_BCHW.shape[-3] == 1:
        return images_BCHW
    return _blend(images_BCHW, luma(images_BCHW), factor_B111)


def hue(images_BCHW: Tensor, shift_B111: Tensor) -> Tensor:
    """Turns hues by a share of the colour circle, -0.5 to 0.5. Grey images stay as they are.

    The same function as a way to HSV and back, without that way: the largest and smallest channel stay, and the
    three channels are triangle waves between them at the turned hue.
    """
    if images_BCHW.shape[-3] == 1:
        return images_BCHW
    red, green, blue = images_BCHW.split(1, dim=-3)
    top = torch.maximum(torch.maximum(red, green), blue)
    low = torch.minimum(torch.minimum(red, green), blue)
    chroma = top - low
    sector = _sector(red, green, blue, top, chroma)
    turned = sector.add_(shift_B111 * 6)
    turned.sub_((turned / 6).floor_().mul_(6))
    made = torch.empty_like(images_BCHW)
    # a channel's wave: full within 1/6 of the circle around its own hue, none within 1/6 of the opposite one
    for channel, (center, sign, offset) in enumerate(((3, 1, -1), (2, -1, 2), (4, -1, 2))):
        wave = (turned - center).abs_().mul_(sign).add_(offset).clamp_(0, 1)
        torch.add(low, wave.mul_(chroma), out=made[..., channel : channel + 1, :, :])
    return made.clamp_(0, 1)


def solarize(images_BCHW: Tensor, threshold: float) -> Tensor:
    """Inverts the values from `threshold` on; |1 - x| there and |0 - x| elsewhere."""
    above = torch.ge(images_BCHW, threshold, out=torch.empty_like(images_BCHW))
    return above.sub_(images_BCHW).abs_()


def jitter(
    images_BCHW: Tensor,
    factors_B4: Tensor,
    order_B4: Tensor,
    chosen_B: Tensor,
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
        chosen_B: Booleans: images where it is false are returned as they are.
        used: The operations that are done at all.

    Returns:
        `[B, C, H, W]` in [0, 1].
    """
    if images_BCHW.device.type == "cpu":
        return _jitter_grouped(images_BCHW, factors_B4, order_B4, chosen_B, used)
    return jitter_fixed(images_BCHW, factors_B4, order_B4, chosen_B, used)


def jitter_fixed(
    images_BCHW: Tensor,
    factors_B4: Tensor,
    order_B4: Tensor,
    chosen_B: Tensor,
    used: Sequence[str] = OPERATIONS,
) -> Tensor:
    """`jitter` with the same operations of the same shapes for any order."""
    place = order_B4.argsort(-1)  # of each operation
    hue_place = place[:, _HUE]
    blends = place[:, :_HUE].argsort(-1)  # the blends, in the order of their places
    made = images_BCHW
    for late in (False, True):
        if late and "hue" in used:
            made = hue(made, factors_B4[:, _HUE, None, None, None])
        for which in blends.unbind(-1):
            after = place.gather(1, which[:, None])[:, 0] > hue_place
            factor = factors_B4.gather(1, which[:, None])[:, 0]
            made = _any_blend(made, which, torch.where(after == late, factor, 1.0), used)
    return torch.where(chosen_B[:, None, None, None], made, images_BCHW)


def _jitter_grouped(
    images_BCHW: Tensor, factors_B4: Tensor, order_B4: Tensor, chosen_B: Tensor, used: Sequence[str]
) -> Tensor:
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, (order, chosen) in enumerate(zip(order_B4.tolist(), chosen_B.tolist(), strict=True)):
        if chosen:
            groups.setdefault(tuple(i for i in order if OPERATIONS[i] in used), []).append(row)
    changed = images_BCHW.clone(memory_format=torch.contiguous_format)
    for order, members in groups.items():
        for rows in cachefuls(members, images_BCHW[:1].numel()):
            made, factors = take(images_BCHW, rows), take(factors_B4, rows)
            for i in order:
                made = _OPERATION[OPERATIONS[i]](made, factors[:, i, None, None, None])
            put(changed, rows, made)
    return changed


_OPERATION: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "brightness": brightness,
    "contrast": contrast,
    "saturation": saturation,
    "hue": hue,
}


def _any_blend(images_BCHW: Tensor, which_B: Tensor, factor_B: Tensor, used: Sequence[str]) -> Tensor:
    """Brightness, contrast or saturation, as `which_B` says: blends with black, with the mean grey, with grey."""
    factor, which = factor_B[:, None, None, None], which_B[:, None, None, None]
    grey = luma(images_BCHW)
    if images_BCHW.shape[-3] == 1:
        factor = torch.where(which == 2, 1.0, factor)
    other = torch.where(which == 2, grey, torch.where(which == 1, _mean(grey), 0.0))
    active = torch.tensor([name in used for name in OPERATIONS], device=images_BCHW.device)[which]
    return _blend(images_BCHW, other, torch.where(active, factor, 1.0))


def _blend(images_BCHW: Tensor, other: Tensor, factor_B111: Tensor) -> Tensor:
    return (images_BCHW * factor_B111).add_(other * (1 - factor_B111)).clamp_(0, 1)


def _mean_luma(images_BCHW: Tensor) -> Tensor:
    return _mean(luma(images_BCHW))


def _mean(grey_B1HW: Tensor) -> Tensor:
    """`[B, 1, 1, 1]`; by rows first, whose sums do not depend on the number of threads."""
    total = grey_B1HW.sum(-1, keepdim=True).sum(-2, keepdim=True)
    return total / (grey_B1HW.shape[-1] * grey_B1HW.shape[-2])


def _sector(red: Tensor, green: Tensor, blue: Tensor, top: Tensor, chroma: Tensor) -> Tensor:
    """Six times the hue, -1 to 5; 0 where there is no colour. A new tensor.

    Which channel is the largest is kept as 0 or 1 in float32: selecting by booleans is many times slower on a CPU.
    """
    is_red = torch.eq(top, red, out=torch.empty_like(red))
    others = 1 - is_red
    is_green = torch.eq(top, green, out=torch.empty_like(green)).mul_(others)
    is_blue = others.sub_(is_green)
    across = (green - blue).mul_(is_red)
    across.add_((blue - red).mul_(is_green)).add_((red - green).mul_(is_blue))
    start = is_green.mul_(2).add_(is_blue.mul_(4))
    return across.div_(chroma.clamp(min=_TINY)).add_(start)
