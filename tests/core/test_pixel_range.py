"""Stored values become the pixels that were meant, or one line says which range they have."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sslkit.core.augment import to_float
from sslkit.core.pixel_range import PixelRange, resolve_range, to_pixels
from sslkit.errors import DataError
from sslkit.specs.pixel_range import PercentileRange

INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")


def image(values, dtype):
    """`[1, 1, W]`."""
    return np.array(values, dtype)[None, None]


def scene(dtype, low, high, channels=1, seed=0):
    """`[C, 8, 8]` of values between `low` and `high`, both of which occur."""
    values = np.random.default_rng(seed).uniform(low, high, (channels, 8, 8))
    values[:, 0, 0], values[:, 0, 1] = low, high
    return values.astype(dtype)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_the_whole_range_of_an_integer_type_is_0_to_1(dtype):
    limits = np.iinfo(dtype)
    middle = limits.min + (limits.max - limits.min) // 4
    made = PixelRange.of_type(np.dtype(dtype))(image([limits.min, middle, limits.max], dtype))
    assert made.dtype == torch.float32
    torch.testing.assert_close(made[0, 0], torch.tensor([0, 0.25, 1]), rtol=0, atol=0.003)
    assert made[0, 0, [0, 2]].tolist() == [0, 1]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bool"])
def test_floats_and_booleans_are_0_to_1_as_they_are(dtype):
    assert PixelRange.of_type(np.dtype(dtype)) == ((0.0,), (1.0,))


def test_a_type_without_order_is_refused():
    with pytest.raises(DataError, match=r"^pixels are complex64; expected integers, floats or booleans$"):
        PixelRange.of_type(np.dtype("complex64"))


def test_a_range_is_cut_off_at_its_ends_and_nan_is_its_low_end():
    window = PixelRange((-160.0,), (240.0,))
    made = window(image([-1024, -160, 40, 240, 3000], "int16"))
    assert made[0, 0].tolist() == [0, 0, 0.5, 1, 1]
    made = PixelRange((10.0,), (20.0,))(image([np.nan, 15, np.inf, -np.inf], "float32"))
    assert made[0, 0].tolist() == [0, 0.5, 1, 0]


def test_every_channel_has_its_own_range():
    raw = np.full((2, 1, 1), 50, "uint16")
    assert PixelRange((0.0, 0.0), (100.0, 200.0))(raw).flatten().tolist() == [0.5, 0.25]
    with pytest.raises(DataError, match="ranges of 2 channels for an image of 3"):
        PixelRange((0.0, 0.0), (1.0, 1.0))(np.zeros((3, 1, 1), "uint16"))


@pytest.mark.parametrize("dtype", ["int32", "uint32", "float64"])
def test_wide_types_keep_differences_that_float32_has_not(dtype):
    """A narrow window far from 0: float32 knows no odd number beyond 2 ** 24."""
    start = 2**30
    made = PixelRange((float(start),), (float(start + 4),))(image([start, start + 1, start + 3], dtype))
    assert made[0, 0].tolist() == [0, 0.25, 0.75]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
def test_what_a_source_may_give_is_passed_on(dtype):
    raw = scene(dtype, 3, 200)
    kept = to_pixels(raw, None)
    assert kept.dtype == getattr(torch, dtype)
    assert np.array_equal(kept.numpy(), raw)
    assert torch.equal(to_float(kept), PixelRange.of_type(raw.dtype)(raw)), "one scale by both ways"


@pytest.mark.parametrize("dtype", ["int8", "uint32", "int64", "float16", "float64", "bool"])
def test_other_types_become_float32(dtype):
    raw = scene(dtype, 0, 1)
    kept = to_pixels(raw, None)
    assert kept.dtype == torch.float32
    assert torch.equal(kept, PixelRange.of_type(raw.dtype)(raw))


@pytest.mark.parametrize(
    "change", [lambda x: x.astype(">u2"), lambda x: x[:, ::-1], lambda x: np.broadcast_to(x, (3, 8, 8))]
)
def test_the_order_of_bytes_and_the_layout_in_memory_do_not_matter(change):
    raw = change(scene("uint16", 0, 65535))
    kept = to_pixels(raw, None)
    assert kept.tolist() == raw.tolist()
    kept[0, 0, 0] = 7  # its own memory where numpy's may not be written
    assert to_pixels(raw, PixelRange((0.0,), (65535.0,))).dtype == torch.float32


@pytest.mark.parametrize("setting", ["auto", "type"])
@pytest.mark.parametrize(
    "sample",
    [
        scene("uint8", 0, 3),
        np.zeros((1, 4, 4), "uint8"),
        np.ones((1, 4, 4), bool),
        scene("int8", 0, 1),
        scene("uint16", 0, 65535),
        scene("int16", -1024, 3071),
        scene("float32", 0, 1),
        scene("float16", 0.25, 0.5),
    ],
)
def test_types_that_are_used_say_it_themselves(setting, sample):
    assert resolve_range(setting, [sample], "data.range") is None


@pytest.mark.parametrize(
    ("sample", "values", "advice"),
    [
        (
            scene("uint16", 20, 1000),
            r"20 to 1000 \(uint16\), and uint16 is read from 0 to 65535, of which that is less than 2%",
            r"\[0, 1023\]",
        ),
        (
            scene("int16", -500, 300),
            r"-500 to 300 \(int16\), and int16 is read from -32768 to 32767, of which",
            r"\[-500, 300\]",
        ),
        (scene("int32", 0, 65535), r"0 to 65535 \(int32\)", r"\[0, 65535\]"),
        (
            scene("float32", 0, 5000),
            r"0 to 5000 \(float32\), and floats are read from 0 to 1, so that others",
            r"\[0, 5000\]",
        ),
        (scene("float64", -1, 1), r"-1 to 1 \(float64\)", r"\[-1, 1\]"),
        (
            scene("float32", 0.001, 0.01),
            r"0.001 to 0.01 \(float32\), and floats are read from 0 to 1, of which",
            r"\[0.001, 0.01\]",
        ),
    ],
)
def test_auto_refuses_values_that_would_hardly_differ(sample, values, advice):
    full = scene(sample.dtype, *((0, 1) if sample.dtype.kind == "f" else (0, np.iinfo(sample.dtype).max)))
    message = (
        rf"^data.range: the first images have values of {values}.*as in `range: {advice}`, or `range: type`"
    )
    with pytest.raises(DataError, match=message):
        resolve_range("auto", [sample, sample], "data.range")
    assert resolve_range("type", [sample], "data.range") is None
    if sample.dtype.kind != "f":
        assert resolve_range("auto", [sample, full], "data.range") is None, "all samples count together"


def test_auto_refuses_constant_images_and_those_without_a_number():
    with pytest.raises(
        DataError, match=r"^f: all pixels of the first images are 7 \(uint16\).*`range: \[0, 7\]`"
    ):
        resolve_range("auto", [np.full((1, 2, 2), 7, "uint16")], "f")
    with pytest.raises(DataError, match=r"^f: the first images hold NaN or infinity only \(float32\)"):
        resolve_range("auto", [np.full((1, 2, 2), np.nan, "float32")], "f")
    assert resolve_range("auto", [], "f") is None


def test_every_type_among_the_images_is_looked_at():
    with pytest.raises(DataError, match="uint16"):
        resolve_range("auto", [scene("uint8", 0, 255), scene("uint16", 0, 100)], "f")


def test_ranges_are_taken_as_they_are_written():
    assert resolve_range((0.0, 4095.0), [], "f") == PixelRange((0.0,), (4095.0,))
    pairs = ((0.0, 10.0), (5.0, 20.0))
    assert resolve_range(pairs, [scene("uint16", 0, 9, channels=2)], "f") == ((0.0, 5.0), (10.0, 20.0))
    with pytest.raises(DataError, match=r"^f: gives ranges of 2 channels but the images have 3; give one"):
        resolve_range(pairs, [scene("uint16", 0, 9, channels=3)], "f")


def test_percentiles_are_those_of_all_samples_by_channel():
    setting = PercentileRange(percentile=(2, 98))
    samples = [scene("float32", -5, 1000, channels=2, seed=seed) for seed in range(3)]
    samples[0][0, 3, 3] = np.nan
    low, high = resolve_range(setting, samples, "f")
    for channel in range(2):
        values = np.concatenate([sample[channel].ravel() for sample in samples]).astype(np.float64)
        expected = np.nanpercentile(values, [2, 98])
        np.testing.assert_allclose([low[channel], high[channel]], expected, rtol=1e-9)


def test_large_images_are_read_in_steps():
    ramp = np.arange(1 << 20, dtype=np.uint32).reshape(1, 1024, 1024)
    low, high = resolve_range(PercentileRange(percentile=(10, 90)), [ramp], "f")
    np.testing.assert_allclose([low[0], high[0]], [0.1 * 2**20, 0.9 * 2**20], rtol=1e-4)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "and there are no;"),
        ([scene("uint16", 0, 9), scene("uint16", 0, 9, channels=3)], "and there are 1, 3;"),
        ([np.full((1, 2, 2), 7, "uint16")], "percentiles 1 and 99 of channel 0 are both 7; give"),
        ([np.full((1, 2, 2), np.inf, "float32")], "of channel 0 are both 0; give"),
    ],
)
def test_percentiles_of_nothing_are_refused(samples, message):
    with pytest.raises(DataError, match=f"^f: .*{message}"):
        resolve_range(PercentileRange(percentile=(1, 99)), samples, "f")
