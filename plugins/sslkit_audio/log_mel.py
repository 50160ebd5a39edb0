"""Spectrograms of waveforms, as AudioMAE makes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor
from torch.nn import functional as F

from sslkit.interfaces import Draw, Transform
from sslkit_audio.kaldi_fbank import log_mel_bank
from sslkit_audio.waveforms import amplitudes


@final
class LogMelTransform(Transform):
    """`[B, 1, time, mel]` float32 in [0, 1]: log energies between `low` and `high`."""

    def __init__(self, frames: int, bins: int, rate: int, bounds: tuple[float, float]) -> None:
        """`bounds`: log energies that become 0 and 1."""
        self.frames, self.bins, self.rate = frames, bins, rate
        self.low, self.high = bounds

    def __call__(self, samples: Sequence[Tensor], draw: Draw) -> Tensor:
        return torch.stack([self._one(amplitudes(sample)) for sample in samples])[:, None]

    def _one(self, wave: Tensor) -> Tensor:
        """Cut at the end, or padded with log energies of 0 and not of silence: AudioMAE pads before it normalizes."""
        energies = log_mel_bank(wave - wave.mean() if len(wave) else wave, self.rate, self.bins)
        energies = energies[: self.frames]
        padded = F.pad(energies, (0, 0, 0, self.frames - len(energies)))
        return ((padded - self.low) / (self.high - self.low)).clamp(0, 1)
