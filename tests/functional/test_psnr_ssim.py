"""PSNR and SSIM against scikit-image and closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from sslkit.functional.psnr_ssim import psnr, ssim


def pair(count=3, channels=3, height=24, width=31, noise=0.1, seed=0):
    """Smooth images and noisy copies, float64."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, channels, 6, 6, generator=generator, dtype=torch.float64)
    goals = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    spoiled = goals + noise * torch.randn(goals.shape, generator=generator, dtype=torch.float64)
    return spoiled.clamp(0, 1), goals


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 11, 11), (3, 24, 31), (3, 64, 16)])
@pytest.mark.parametrize("noise", [0.02, 0.3])
def test_ssim_equals_scikit_image(channels, height, width, noise):
    """`skimage.metrics.structural_similarity` with the settings that its documentation gives for Wang et al."""
    images, goals = pair(3, channels, height, width, noise)
    found = ssim(images, goals)
    for i in range(3):
        expected = structural_similarity(
            images[i].numpy(), goals[i].numpy(), data_range=1.0, channel_axis=0,
            gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        )  # fmt: skip
        assert found[i].item() == pytest.approx(expected, abs=1e-9)


def test_psnr_equals_scikit_image():
    images, goals = pair()
    for i, value in enumerate(psnr(images, goals).tolist()):
        expected = peak_signal_noise_ratio(goals[i].numpy(), images[i].numpy(), data_range=1.0)
        assert value == pytest.approx(expected, abs=1e-9)


def test_equal_images_are_perfect():
    _, goals = pair()
    assert ssim(goals, goals).tolist() == pytest.approx([1.0] * 3)
    assert psnr(goals, goals).tolist() == pytest.approx([100.0] * 3)


def test_float32_is_close_to_float64():
    images, goals = pair()
    torch.testing.assert_close(
        ssim(images.float(), goals.float()).double(), ssim(images, goals), rtol=0, atol=1e-4
    )
    torch.testing.assert_close(
        psnr(images.float(), goals.float()).double(), psnr(images, goals), rtol=0, atol=1e-4
    )


def test_a_constant_offset_has_a_known_ssim():
    """Without structure only the means count: (2 a b + C1) / (a² + b² + C1)."""
    dark, bright = torch.full((1, 1, 16, 16), 0.3), torch.full((1, 1, 16, 16), 0.6)
    expected = (2 * 0.3 * 0.6 + 1e-4) / (0.3**2 + 0.6**2 + 1e-4)
    assert ssim(dark, bright).item() == pytest.approx(expected, abs=1e-4)
    assert psnr(dark, bright).item() == pytest.approx(-20 * math.log10(0.3), abs=1e-4)


def test_only_counted_pixels_are_compared():
    goals = torch.zeros(2, 3, 8, 8)
    images = goals.clone()
    images[0, :, :4] = 0.1
    images[0, :, 4:] = 0.7
    counted = torch.zeros(2, 8, 8, dtype=torch.bool)
    counted[0, :4] = True
    assert psnr(images, goals, counted).tolist() == pytest.approx([20.0, 100.0])
    assert psnr(images, goals, ~counted)[0].item() == pytest.approx(-20 * math.log10(0.7))
    whole = psnr(images, goals)
    torch.testing.assert_close(psnr(images, goals, torch.ones_like(counted)), whole)


def test_images_do_not_depend_on_each_other():
    images, goals = pair(5)
    for measure in (psnr, ssim):
        torch.testing.assert_close(measure(images, goals)[2:3], measure(images[2:3], goals[2:3]))


@pytest.mark.parametrize("side", [1, 2, 7, 8, 10])
def test_small_images_get_a_window_that_fits(side):
    images, goals = pair(2, 1, side, side)
    found = ssim(images, goals)
    assert found.shape == (2,)
    assert bool((found < 1).all())
    assert torch.allclose(ssim(goals, goals), torch.ones(2, dtype=torch.float64))


def test_more_noise_is_worse():
    measured = [[float(m(*pair(noise=noise)).mean()) for noise in (0.01, 0.05, 0.2)] for m in (psnr, ssim)]
    for values in measured:
        assert values == sorted(values, reverse=True)
    assert 0 < measured[1][2] < measured[1][0] < 1
