"""Synthesized sounds: tones, chirps and noises of eight kinds, a pure function of seed, split and index."""

from __future__ import annotations

from functools import cached_property
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslkit.interfaces import Source, digest, stacked
from sslkit_audio.waveforms import FULL, to_int16

KINDS = ("tone", "harmonics", "chirp_up", "chirp_down", "vibrato", "tremolo", "noise_band", "clicks")
PITCHES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
ONSETS = ("early", "middle", "late")
LOWEST, OCTAVES = 130.8128, 3
"""Hz of the lowest C, and octaves above it."""
Wave = NDArray[np.float64]


@final
class SyntheticSource(Source):
    """Sounds of one split, made when they are asked for."""

    def __init__(self, split: str, count: int, seconds: float, rate: int, noise: float, seed: int) -> None:
        """`noise`: most of the amplitude of the noise."""
        self.split, self.seconds, self.rate, self.noise, self.seed = split, seconds, rate, noise, seed
        self.channels, self.classes = 1, KINDS
        numbers = torch.arange(count)
        generator = np.random.default_rng([seed, split != "train"])
        places = torch.from_numpy(generator.integers(0, (len(PITCHES), len(ONSETS)), (count, 2)))
        self.labels: Tensor | None = numbers % len(KINDS)
        self.attributes = {"pitch_class": places[:, 0], "onset": places[:, 1]}
        self.attribute_values = {"pitch_class": PITCHES, "onset": ONSETS}

    def __len__(self) -> int:
        return len(self.attributes["onset"])

    @cached_property
    def fingerprint(self) -> str:
        """Over all settings: they say what the sounds are, to the last bit on one machine."""
        settings = (self.split, len(self), self.seconds, self.rate, self.noise, self.seed)
        return f"synthetic_sounds@1 {settings}"

    def digests(self) -> NDArray[np.uint8]:
        """`[N, 16]`, over settings and place."""
        return stacked([digest(f"{self.fingerprint} {i}".encode()) for i in range(len(self))])

    def name(self, index: int) -> str:
        return f"synthetic_sounds {self.split} {index}"

    def load(self, index: int) -> Tensor:
        """`[1, L]` int16."""
        generator = np.random.default_rng([self.seed, self.split != "train", index])
        kind = KINDS[index % len(KINDS)]
        pitch, onset = (int(self.attributes[name][index]) for name in ("pitch_class", "onset"))
        octave = int(generator.integers(OCTAVES))
        hertz = LOWEST * 2 ** (octave + (pitch + generator.uniform(-0.2, 0.2)) / len(PITCHES))
        length = round(self.seconds * self.rate)
        time = np.arange(length) / self.rate
        begin = self.seconds * (onset + generator.uniform(0, 1)) / (2 * len(ONSETS))
        sound = _sound(kind, hertz, np.maximum(time - begin, 0), self.seconds / 2, generator)
        heard = (time >= begin) & (time < begin + self.seconds / 2)
        amplitude = generator.uniform(0.2, 0.8)
        background = generator.uniform(0, self.noise) * generator.standard_normal(length)
        return torch.from_numpy(to_int16(amplitude * sound * heard + background))[None]

    def resident(self) -> Tensor:
        return self._all

    @cached_property
    def _all(self) -> Tensor:
        return torch.stack([self.load(i) for i in range(len(self))])


def _sound(kind: str, hertz: float, time: Wave, span: float, generator: np.random.Generator) -> Wave:
    """One sound of amplitude 1 from second 0 of `time` to `span`."""
    turn = 2 * np.pi * time
    match kind:
        case "tone":
            return np.sin(turn * hertz)
        case "harmonics":  # the first partials of a sawtooth
            return _unit(sum((np.sin(n * turn * hertz) / n for n in range(1, 7)), np.zeros_like(time)))
        case "chirp_up" | "chirp_down":  # one octave, exponentially
            slope = (1 if kind == "chirp_up" else -1) * np.log(2) / span
            return np.asarray(np.sin(2 * np.pi * hertz * np.expm1(slope * time) / slope))
        case "vibrato":
            return np.sin(turn * hertz + 0.03 * hertz / 6 * np.sin(turn * 6))
        case "tremolo":
            return np.sin(turn * hertz) * (0.5 + 0.5 * np.sin(turn * 8))
        case "noise_band":  # white noise that rings at the pitch
            return _unit(np.sin(turn * hertz + np.cumsum(generator.normal(0, 0.15, len(time)))))
    period = 1 / (hertz / 16)
    return np.where(time % period < period / 20, np.sin(turn * hertz * 4), 0.0)


def _unit(wave: Wave) -> Wave:
    return np.asarray(wave / max(float(np.abs(wave).max()), 1 / FULL))
