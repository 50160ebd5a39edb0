"""Log-mel energies and their transform against AudioMAE's arrays."""

from __future__ import annotations

import math
import pickle

import pytest
import torch

from sslkit.errors import SpecError
from sslkit.runtime import seeds
from sslkit_audio.kaldi_fbank import decibels_to_log, frames_of, log_mel_bank, mel_bank, window_of
from sslkit_audio.log_mel import LogMelTransform
from sslkit_audio.specs.spectrograms import LogMel
from tests.near import error_of

RATE = 16_000
DRAW = seeds.draw(0, rows=torch.arange(1))


def float_sample(wave):
    """`[1, L]` amplitudes as a source may give them, in [0, 1]."""
    return (wave + 1) / 2


def test_filters_are_kaldis(golden):
    """torchaudio 2.11.1 compliance.kaldi.get_mel_banks, float32."""
    assert error_of(mel_bank(128, RATE), golden("audiomae_fbank")["mel_banks"]) <= 1e-6


def test_energies_are_those_of_audiomae(golden):
    """facebookresearch/AudioMAE@bd60e2965128:dataset.py _wav2fbank. Near silence the logarithm widens the last bits."""
    arrays = golden("audiomae_fbank")
    wave = arrays["waveform"][0]
    error = (log_mel_bank(wave - wave.mean(), RATE, 128) - arrays["fbank"]).abs()
    assert float(error.max()) <= 5e-4
    assert float(error.mean()) <= 1e-5
    assert error_of(log_mel_bank(wave, RATE, 128), arrays["fbank_no_center"]) <= 5e-4


def test_a_double_waveform_is_more_exact_and_not_other(golden):
    arrays = golden("audiomae_fbank")
    wave = arrays["waveform"][0].double()
    energies = log_mel_bank(wave - wave.mean(), RATE, 128)
    assert energies.dtype == torch.float64
    assert float((energies - arrays["fbank"]).abs().mean()) <= 1e-5


@pytest.mark.parametrize(("frames", "name"), [(160, "padded160"), (100, "cut100")])
def test_sounds_are_padded_or_cut_as_there(golden, frames, name):
    arrays = golden("audiomae_fbank")
    transform = LogMelTransform(frames, 128, RATE, (-16, 16))
    (image,) = transform([float_sample(arrays["waveform"])], DRAW)
    assert image.shape == (1, frames, 128)
    assert error_of(image[0] * 32 - 16, arrays[name]) <= 1e-3


def test_the_statistics_of_the_page_normalize_as_there(golden):
    arrays = golden("audiomae_fbank")
    transform = LogMelTransform(160, 128, RATE, (-16, 16))
    (image,) = transform([float_sample(arrays["waveform"])], DRAW)
    mean, std = arrays["norm_stats"][0]
    assert round((float(mean) + 16) / 32, 4) == 0.3666
    assert round(2 * float(std) / 32, 4) == 0.2856
    assert error_of((image[0] - 0.3666) / 0.2856, arrays["normalized"]) <= 1e-3


@pytest.mark.parametrize(
    ("samples", "frames"), [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2), (20_000, 123)]
)
def test_whole_windows_count(samples, frames):
    assert frames_of(samples, RATE) == frames
    assert log_mel_bank(torch.zeros(samples), RATE, 16).shape == (frames, 16)


def test_windows_of_other_rates():
    assert window_of(RATE) == (400, 160, 512)
    assert window_of(44_100) == (1102, 441, 2048)


def test_silence_has_the_least_energy_and_a_short_sound_none():
    assert log_mel_bank(torch.zeros(800), RATE, 8).unique().tolist() == [pytest.approx(-15.9424, abs=1e-3)]
    image = LogMelTransform(4, 8, RATE, (-16, 16))([torch.zeros(1, 100, dtype=torch.int16)], DRAW)
    assert image.unique().tolist() == [0.5]


def test_int16_and_floats_of_one_sound_are_one_spectrogram():
    wave = torch.sin(torch.arange(1600) * 0.2) / 2
    whole = (wave * 32768).round()
    transform = LogMelTransform(8, 16, RATE, (-16, 16))
    stored = transform([whole.to(torch.int16)[None]], DRAW)
    assert error_of(transform([float_sample(whole / 32768)[None]], DRAW), stored) <= 1e-4


def test_a_tone_stands_at_its_frequency():
    wave = torch.sin(2 * math.pi * 1000 * torch.arange(RATE) / RATE)
    loudest = log_mel_bank(wave, RATE, 64).mean(0).argmax()
    low, high = (1127 * math.log1p(f / 700) for f in (20, 8000))
    expected = (1127 * math.log1p(1000 / 700) - low) / (high - low) * 65 - 1
    assert abs(float(loudest) - expected) <= 1


def test_twice_the_amplitude_is_six_decibels():
    wave = torch.sin(torch.arange(1600.0, dtype=torch.float64) * 0.3)
    rise = (log_mel_bank(2 * wave, RATE, 8) - log_mel_bank(wave, RATE, 8))[:, :5]  # the others are silent
    assert error_of(rise, torch.full_like(rise, decibels_to_log(20 * math.log10(2)))) <= 1e-9


def test_the_spec_builds_one_for_workers():
    transform = pickle.loads(pickle.dumps(LogMel(range=(-12, 12)).build((5, 7), "")))
    assert transform([torch.zeros(1, 2000, dtype=torch.int16)], DRAW).shape == (1, 1, 5, 7)


def test_a_range_goes_up():
    with pytest.raises(SpecError, match=r"low < high, found \[3.0, 1.0\]"):
        LogMel(range=(3, 1))
