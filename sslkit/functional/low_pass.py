"""Ideal low-pass filters in the Fourier domain."""

from __future__ import annotations

import torch
from torch import Tensor

from sslkit.functional.precision import at_least_float32


def low_pass_filter(height: int, width: int, cutoff: float) -> Tensor:
    """Frequencies that an ideal low-pass filter keeps, `[height, width // 2 + 1]` bool, in the order of `rfft2`.

    `cutoff` is the radius of a circle as a share of the Nyquist frequency: 1 keeps all but the corners of
    the spectrum, sqrt(2) or more keeps everything.
    """
    down = torch.fft.fftfreq(height, d=0.5, dtype=torch.float64)[:, None]
    across = torch.fft.rfftfreq(width, d=0.5, dtype=torch.float64)[None]
    radius: Tensor = (down.square() + across.square()).sqrt()
    return radius <= cutoff + 1e-9


def low_pass(images: Tensor, kept: Tensor) -> Tensor:
    """Remove all frequencies of `images` `[..., H, W]` that `kept` (of `low_pass_filter`) does not name.

    The image counts as periodic, as in every discrete Fourier transform. At least float32.
    """
    x = at_least_float32(images)
    filtered: Tensor = torch.fft.irfft2(torch.fft.rfft2(x) * kept, s=x.shape[-2:])
    return filtered
