"""Sounds: of files of every kind, and synthesized; augmentations of their spectrograms."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch

from sslkit.errors import DataError
from sslkit.runtime import seeds
from sslkit_audio.sound_reading import Length, pieces_of
from sslkit_audio.specs.files import AudioFolder
from sslkit_audio.specs.spectrograms import Gain, SpecAugment, TimeRoll
from sslkit_audio.specs.synthetic import SyntheticSounds
from sslkit_audio.waveforms import resampled, to_int16

RATE = 16_000
WAVE = np.sin(np.arange(RATE) * 0.05) * 0.5
DRAW_ROWS = torch.arange(64)


def folder(tmp_path, **files):
    """A source of files `name: (wave, rate, subtype)` in class `a`."""
    (tmp_path / "a").mkdir(exist_ok=True)
    for name, (wave, rate, subtype) in files.items():
        stem, _, ending = name.rpartition("_")
        soundfile.write(tmp_path / "a" / f"{stem}.{ending}", wave, rate, subtype=subtype)
    return tmp_path


def source(root, **fields):
    return AudioFolder(root=root, **fields).build("train")


def test_sixteen_bits_come_out_as_they_went_in(tmp_path):
    stored = np.random.default_rng(0).integers(-32768, 32768, 500).astype(np.int16)
    sounds = source(folder(tmp_path, x_wav=(stored, RATE, "PCM_16"), y_flac=(stored, RATE, "PCM_16")))
    assert [sounds.load(i)[0].tolist() for i in range(2)] == [stored.tolist()] * 2
    assert sounds.load(0).dtype == torch.int16


@pytest.mark.parametrize(
    ("name", "subtype", "bound"),
    [
        ("x_wav", "PCM_U8", 256),
        ("x_wav", "PCM_24", 1),
        ("x_wav", "PCM_32", 1),
        ("x_wav", "FLOAT", 1),
        ("x_wav", "DOUBLE", 1),
        ("x_ogg", "VORBIS", 2000),
        ("x_mp3", "MPEG_LAYER_III", 2000),
    ],
)
def test_every_depth_and_format_is_the_same_sound(tmp_path, name, subtype, bound):
    sounds = source(folder(tmp_path, **{name: (WAVE, RATE, subtype)}))
    error = np.abs(sounds.load(0)[0].numpy().astype(int) - to_int16(WAVE).astype(int))
    assert len(error) == RATE
    assert error[2000:-2000].max() <= bound


def test_channels_become_their_mean_and_loud_floats_are_cut_off(tmp_path):
    both = np.stack([np.full(100, 0.5), np.full(100, -0.25)], axis=1)
    sounds = source(
        folder(tmp_path, loud_wav=(np.full(9, 3.0), RATE, "FLOAT"), two_wav=(both, RATE, "FLOAT"))
    )
    assert sounds.load(0)[0].unique().tolist() == [32767]
    assert sounds.load(1)[0].unique().tolist() == [4096]


def test_other_rates_are_resampled(tmp_path):
    tone = np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100) * 0.5
    wave = source(folder(tmp_path, x_wav=(tone, 44_100, "FLOAT"))).load(0)[0].numpy() / 32768
    assert len(wave) == RATE
    expected = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE) * 0.5
    assert np.abs(wave - expected)[200:-200].max() <= 2e-3
    assert resampled(np.zeros(0, dtype=np.float32), 8000, RATE).shape == (0,)


def test_long_files_are_cut_by_seeking(tmp_path):
    ramp = np.arange(1000, dtype=np.int16)
    root = folder(tmp_path, x_wav=(ramp, 1000, "PCM_16"))
    first = source(root, rate=1000, seconds=0.3)
    assert (len(first), first.load(0)[0].tolist()) == (1, list(range(300)))
    every = source(root, rate=1000, seconds=0.3, clips="every")
    assert [int(every.load(i)[0, 0]) for i in range(len(every))] == [0, 300, 600]
    assert every.name(2) == "a/x.wav from 0.6 s"
    assert len({row.tobytes() for row in every.digests()}) == 3


@pytest.mark.parametrize(("samples", "count"), [(1, 1), (999, 1), (1499, 1), (1500, 2), (2000, 2)])
def test_a_rest_counts_from_its_half(samples, count):
    assert pieces_of(Length(samples, 1000), 1.0) == count
    assert pieces_of(None, 1.0) == 1


def test_broken_files_are_one_line(tmp_path):
    root = folder(
        tmp_path, c_wav=(np.array([0.1, np.nan]), RATE, "FLOAT"), e_wav=(np.zeros(0), RATE, "PCM_16")
    )
    (root / "a" / "text.wav").write_text("no sound")
    sounds = source(root, clips="every")
    for index, message in enumerate(("no finite numbers", "holds no samples", "cannot be read as sound")):
        with pytest.raises(DataError, match=message) as caught:
            sounds.load(index)
        assert "\n" not in str(caught.value)


def test_folders_are_classes_and_a_split_can_be_drawn(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(10):
            soundfile.write(tmp_path / name / f"{i}.wav", WAVE[:500], RATE)
    train, test = (AudioFolder(root=tmp_path, split={"test": 0.3}).build(s) for s in ("train", "test"))
    assert train.classes == ("a", "b")
    assert len(train) + len(test) == 20
    assert not {train.name(i) for i in range(len(train))} & {test.name(i) for i in range(len(test))}
    assert AudioFolder(root=tmp_path).build("test") is None


def test_a_listing_says_labels_splits_and_attributes(tmp_path):
    folder(tmp_path, x_wav=(WAVE, RATE, "PCM_16"), y_wav=(WAVE, RATE, "PCM_16"))
    rows = ["path,label,split,place", "a/x.wav,dog,train,park", "a/y.wav,dog,test,park"]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    test = AudioFolder(root=tmp_path, listing=tmp_path / "list.csv").build("test")
    assert (test.name(0), test.classes, test.attribute_values) == ("a/y.wav", ("dog",), {"place": ("park",)})


def test_folders_without_sounds_or_with_loose_ones_are_told(tmp_path):
    with pytest.raises(DataError, match="holds no sound files"):
        source(tmp_path)
    folder(tmp_path, x_wav=(WAVE, RATE, "PCM_16"))
    soundfile.write(tmp_path / "loose.wav", WAVE, RATE)
    with pytest.raises(DataError, match=r"'loose.wav' lies beside class folders"):
        source(tmp_path)


def test_synthetic_sounds_follow_from_the_seed():
    one, two = (SyntheticSounds(train=16, seconds=0.2, seed=s).build("train") for s in (0, 1))
    assert torch.equal(one.load(3), SyntheticSounds(train=16, seconds=0.2).build("train").load(3))
    assert not torch.equal(one.load(3), two.load(3))
    assert one.fingerprint != two.fingerprint
    assert one.labels.bincount().tolist() == [2] * 8


def test_a_synthetic_tone_has_its_pitch():
    sounds = SyntheticSounds(train=64, noise=0).build("train")
    for index in range(0, 64, 8):
        assert sounds.classes[int(sounds.labels[index])] == "tone"
        power = np.abs(np.fft.rfft(sounds.load(index)[0].numpy() / 1.0))
        semitones = 12 * np.log2(power.argmax() / 130.8128)
        off = (semitones - int(sounds.attributes["pitch_class"][index]) + 6) % 12 - 6
        assert abs(off) <= 0.4


def draw():
    return seeds.draw(0, rows=DRAW_ROWS)


def test_bands_of_time_and_frequency_are_blanked():
    spec = SpecAugment(times=2, time_width=4, frequencies=1, frequency_width=3, fill=0)
    blank = spec.build((20, 10))(torch.ones(64, 1, 20, 10), draw())[:, 0] == 0
    times, bands = blank.all(2), blank.all(1)
    assert torch.equal(blank, times[:, :, None] | bands[:, None, :])
    assert (int(times.sum(1).max()), int(bands.sum(1).max())) == (8, 3)


def test_time_rolls_over_the_ends():
    images = torch.arange(20.0)[None, None, :, None].expand(64, 1, 20, 3)
    rolled = TimeRoll(most=0.25).build((20, 3))(images, draw())[:, 0, :, 0]
    assert (rolled.sort(1).values == torch.arange(20.0)).all()
    shifts = (rolled.argmin(1) + 10) % 20 - 10
    assert (int(shifts.min()), int(shifts.max())) == (-5, 5)


def test_gain_moves_all_values_alike():
    moved = Gain(decibels=6).build((4, 4))(torch.full((64, 1, 4, 4), 0.5), draw())
    assert (moved == moved[:, :, :1, :1]).all()
    assert 0.03 < float((moved - 0.5).abs().max()) <= 6 * np.log(10) / 10 / 32
