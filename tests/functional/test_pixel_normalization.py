from __future__ import annotations

import pytest
import torch

from sslkit.functional.pixel_normalization import as_rgb, channel_statistics, normalized, unnormalized

MEAN, STD = (0.1, 0.2, 0.6), (0.5, 0.25, 0.125)


def test_normalization_is_by_channel_and_goes_back():
    images = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    output = normalized(images, MEAN, STD)
    for channel in range(3):
        expected = (images[:, channel] - MEAN[channel]) / STD[channel]
        assert torch.allclose(output[:, channel], expected, atol=1e-6)
    assert torch.allclose(unnormalized(output, MEAN, STD), images, atol=1e-6)


def test_pixels_out_of_range_are_cut():
    images = torch.tensor([-9.0, 0.0, 9.0]).view(3, 1, 1)
    assert unnormalized(images, (0.5,) * 3, (0.5,) * 3).flatten().tolist() == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_type_of_the_images_stays(dtype):
    images = torch.zeros(1, 3, 2, 2, dtype=dtype)
    assert normalized(images, MEAN, STD).dtype == unnormalized(images, MEAN, STD).dtype == dtype


def test_statistics_are_float32_columns_by_default():
    mean, std = channel_statistics(MEAN, STD, torch.device("cpu"))
    assert (mean.dtype, mean.shape, std.shape) == (torch.float32, (3, 1, 1), (3, 1, 1))
    assert torch.equal(mean.flatten(), torch.tensor(MEAN))
    assert torch.equal(std.flatten(), torch.tensor(STD))


@pytest.mark.parametrize(
    ("channels", "shown"), [(1, [0, 0, 0]), (2, [0, 0, 0]), (3, [0, 1, 2]), (5, [0, 1, 2])]
)
def test_any_number_of_channels_is_shown_in_three(channels, shown):
    pixels = torch.arange(2 * channels * 4).view(2, 1, channels, 2, 2)
    assert torch.equal(as_rgb(pixels), pixels[:, :, shown])
    triple = [channels - 1, 0, channels // 2]
    assert torch.equal(as_rgb(pixels, triple), pixels[:, :, triple])


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_channels_are_in_front_of_as_many_axes_as_are_said(axes):
    """Of clips of three frames, statistics of three channels would fit the wrong axis and raise nothing."""
    mean, std = (0.1, 0.5, 0.9), (0.5, 1.0, 2.0)
    crops = torch.rand(2, 3, *(3,) * axes, generator=torch.Generator().manual_seed(0))
    values = normalized(crops, mean, std, axes)
    for channel in range(3):
        expected = (crops[:, channel] - mean[channel]) / std[channel]
        assert torch.allclose(values[:, channel], expected)
    assert torch.allclose(unnormalized(values, mean, std, axes), crops, atol=1e-6)
