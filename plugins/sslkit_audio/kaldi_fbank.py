"""Log-mel filter banks with Kaldi's parameters. F frames, W samples of a window, M mel bins, K bins of the FFT."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

WINDOW, SHIFT = 0.025, 0.010
"""Seconds of a frame, and from one to the next (Kaldi, AudioMAE)."""
LOW = 20.0
"""Hz where the first filter begins (Kaldi)."""
PREEMPHASIS = 0.97
EPSILON = float(torch.finfo(torch.float32).eps)
"""Least energy before the logarithm, whatever the type (Kaldi)."""


def window_of(rate: int) -> tuple[int, int, int]:
    """Samples of a window, from one to the next, and of the FFT, which is the next power of two."""
    length = int(rate * WINDOW)
    return length, int(rate * SHIFT), 1 << (length - 1).bit_length()


def frames_of(samples: int, rate: int) -> int:
    """Whole windows in so many samples: what is left over at the end is cut (`snip_edges`)."""
    length, shift, _ = window_of(rate)
    return 0 if samples < length else 1 + (samples - length) // shift


def log_mel_bank(wave_L: Tensor, rate: int, bins: int) -> Tensor:
    """Kaldi's log-mel energies of a waveform `[L]`, `[F, bins]`, in its type; no dither, as AudioMAE computes them.

    Each frame: minus its mean, pre-emphasis, Hann window, power spectrum; then triangular mel filters and the natural
    logarithm. No frame where the waveform is shorter than a window.
    """
    length, shift, size = window_of(rate)
    if frames_of(len(wave_L), rate) == 0:
        return wave_L.new_zeros(0, bins)
    frames_FW = wave_L.unfold(0, length, shift)
    frames_FW = frames_FW - frames_FW.mean(1, keepdim=True)
    before_FW = torch.cat([frames_FW[:, :1], frames_FW[:, :-1]], dim=1)
    window_W = torch.hann_window(length, periodic=False, dtype=wave_L.dtype, device=wave_L.device)
    emphasized_FW = (frames_FW - PREEMPHASIS * before_FW) * window_W
    power_FK = torch.fft.rfft(emphasized_FW, n=size).abs().square()
    bank_MK = mel_bank(bins, rate).to(wave_L)
    energies_FM: Tensor = power_FK[:, :-1] @ bank_MK.T
    return energies_FM.clamp(min=EPSILON).log()


@lru_cache(maxsize=8)
def mel_bank(bins: int, rate: int) -> Tensor:
    """Triangular filters `[bins, K - 1]` from 20 Hz to half the rate; the last bin of the FFT is in none.

    float32 as torchaudio's, so that energies equal its to the last bit.
    """
    size = window_of(rate)[2]
    low, high = (1127.0 * math.log(1.0 + hertz / 700.0) for hertz in (LOW, rate / 2))
    step = (high - low) / (bins + 1)
    place = torch.arange(bins)[:, None]
    left, center, right = (low + (place + side) * step for side in (0.0, 1.0, 2.0))
    mels = 1127.0 * (1.0 + rate / size * torch.arange(size // 2) / 700.0).log()
    return torch.minimum((mels - left) / (center - left), (right - mels) / (right - center)).clamp(min=0)


def decibels_to_log(decibels: float) -> float:
    """What a gain of so many dB adds to the natural logarithm of an energy."""
    return decibels * math.log(10) / 10
