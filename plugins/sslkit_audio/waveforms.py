"""Waveforms as they travel: int16, of which 32768 is the full amplitude 1; resampling; clips."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslkit.interfaces import to_float

FULL = 32768
"""What int16 has for the amplitude 1, as in WAV files."""


def to_int16(wave: NDArray[np.floating]) -> NDArray[np.int16]:
    """Amplitudes of -1 to 1, rounded; what lies outside is cut off. Of a file of 16 bits they are exact."""
    return np.asarray(np.clip(np.rint(wave * FULL), -FULL, FULL - 1), dtype=np.int16)


def amplitudes(sample: Tensor) -> Tensor:
    """`[1, L]` of a type that sources may give, as float32 amplitudes `[L]` of -1 to 1.

    int16 is divided by 32768; the range of other types, 0 to 1 as `to_float` has it, is -1 to 1.
    """
    if sample.dtype == torch.int16:
        return sample[0].to(torch.float32) / FULL
    return to_float(sample[0]) * 2 - 1


def resampled(wave: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.float32]:
    """`wave` `[L]` of `rate` samples a second with `wanted` ones, by SciPy's polyphase filter (Kaiser, beta 5)."""
    if rate == wanted or not len(wave):
        return wave
    from scipy.signal import resample_poly

    ratio = Fraction(wanted, rate)
    return np.asarray(resample_poly(wave, ratio.numerator, ratio.denominator), dtype=np.float32)
