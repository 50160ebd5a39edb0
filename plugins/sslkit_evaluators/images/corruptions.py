"""Corruptions of images after Hendrycks & Dietterich (2019), in batches. Images `[B, C, H, W]` in [0, 1].

Each takes a row of `[B]` random streams, so that an image is spoiled alike whatever batch it comes in.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from sslkit.functional.blur import gaussian_blur
from sslkit.interfaces import Draw, to_float, to_uint8

Change = Callable[[Tensor, Draw, float], Tensor]
"""Images, their randomness and the severity's value -> images."""


class Corruption(NamedTuple):
    """One kind of corruption."""

    change: Change
    small: tuple[float, ...]
    """Values of severities 1 to 5 for images of about 32 pixels (CIFAR-10-C)."""
    large: tuple[float, ...]
    """The same for images of about 224 pixels (ImageNet-C)."""


def gaussian_noise(images: Tensor, draw: Draw, value: float) -> Tensor:
    """Normal noise of this deviation."""
    return images + value * draw.normal(*images.shape[1:]).to(images)


def shot_noise(images: Tensor, draw: Draw, value: float) -> Tensor:
    """Poisson noise of this many photons at full brightness."""
    return _poisson(images.clamp(0, 1) * value, draw) / value


def impulse_noise(images: Tensor, draw: Draw, value: float) -> Tensor:
    """Salt and pepper on this share of the values, half of each."""
    uniform = draw.uniform(*images.shape[1:]).to(images)
    salted = torch.where(uniform < value / 2, torch.ones_like(images), images)
    return torch.where(uniform > 1 - value / 2, torch.zeros_like(images), salted)


def blur(images: Tensor, draw: Draw, value: float) -> Tensor:
    """Gaussian blur of this deviation, in pixels, cut off at four deviations (scikit-image's filter)."""
    return gaussian_blur(images, images.new_full((len(images),), value), math.ceil(4 * value), "replicate")


def contrast(images: Tensor, draw: Draw, value: float) -> Tensor:
    """Distances from an image's mean color times this."""
    mean = images.mean((2, 3), keepdim=True)
    return (images - mean) * value + mean


def brightness(images: Tensor, draw: Draw, value: float) -> Tensor:
    """The value of HSV raised by this; hue and saturation stay."""
    top = images.amax(1, keepdim=True)
    raised = (top + value).clamp(max=1)
    return torch.where(top > 0, images / top.clamp(min=1e-6) * raised, raised.expand_as(images))


def pixelate(images: Tensor, draw: Draw, value: float) -> Tensor:
    """Shrunk to this share of the side by averaging areas, and blown up again by copying."""
    size = [max(1, int(side * value)) for side in images.shape[2:]]
    return F.interpolate(F.interpolate(images, size, mode="area"), images.shape[2:], mode="nearest")


def jpeg(images: Tensor, draw: Draw, value: float) -> Tensor:
    """JPEG of this quality."""
    packed = to_uint8(images).cpu().permute(0, 2, 3, 1).numpy()
    return torch.stack([_through_jpeg(image, int(value)) for image in packed]).to(images.device)


CORRUPTIONS: Mapping[str, Corruption] = {
    "gaussian_noise": Corruption(
        gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10), (0.08, 0.12, 0.18, 0.26, 0.38)
    ),
    "shot_noise": Corruption(shot_noise, (500, 250, 100, 75, 50), (60, 25, 12, 5, 3)),
    "impulse_noise": Corruption(
        impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07), (0.03, 0.06, 0.09, 0.17, 0.27)
    ),
    "gaussian_blur": Corruption(blur, (0.4, 0.6, 0.7, 0.8, 1.0), (1, 2, 3, 4, 6)),
    "contrast": Corruption(contrast, (0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05)),
    "brightness": Corruption(brightness, (0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5)),
    "pixelate": Corruption(pixelate, (0.95, 0.9, 0.85, 0.75, 0.65), (0.6, 0.5, 0.4, 0.3, 0.25)),
    "jpeg": Corruption(jpeg, (80, 65, 58, 50, 40), (25, 18, 15, 10, 7)),
}
"""By name, with the severities of the published `make_cifar_c.py` and `make_imagenet_c.py`."""

MANY = 50
"""Photons from which on their number is drawn as a normal one."""

LEVEL_SLACK = 0.01
"""Of a step of 1/255: normalization and back leave less, and an image of 16 bits has more somewhere."""

SMALL = 96
"""Images of at most this side take the severities of small images."""


def corrupt(images: Tensor, name: str, severity: int, draw: Draw) -> Tensor:
    """`images` under one corruption at a severity from 1 to 5, in [0, 1]; those of 8 bits are rounded to 8 bits again.

    JPEG holds 8 bits whatever the image has.
    """
    kind = CORRUPTIONS[name]
    value = (kind.small if images.shape[-1] <= SMALL else kind.large)[severity - 1]
    spoiled = kind.change(images, draw, value).clamp(0, 1)
    levels = images * 255
    of_bytes = (levels - levels.round()).abs().amax((1, 2, 3), keepdim=True) < LEVEL_SLACK
    return torch.where(of_bytes, to_float(to_uint8(spoiled)), spoiled)


def _poisson(rate: Tensor, draw: Draw) -> Tensor:
    """Counts of these rates: quantiles of uniform numbers, beyond `MANY` rounded normal ones."""
    uniform = draw.uniform(*rate.shape[1:]).to(rate).double()
    few = rate.double().clamp(max=MANY)
    count, chance = torch.zeros_like(few), (-few).exp()
    total = chance.clone()
    for k in range(1, MANY + 8 * math.isqrt(MANY)):
        count += uniform > total
        chance = chance * few / k
        total = total + chance
    normal = (rate + rate.sqrt() * draw.normal(*rate.shape[1:]).to(rate)).round().clamp(min=0)
    return torch.where(rate < MANY, count.to(rate.dtype), normal)


def _through_jpeg(image: np.ndarray, quality: int) -> Tensor:
    """`[C, H, W]` in [0, 1] of `[H, W, C]` uint8."""
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(file, "JPEG", quality=quality)
    read = np.atleast_3d(np.asarray(Image.open(file)))
    return to_float(torch.from_numpy(read.copy()).permute(2, 0, 1))
