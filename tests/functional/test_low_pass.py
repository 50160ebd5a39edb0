"""Ideal low-pass filters."""

from __future__ import annotations

import math

import pytest
import torch

from sslkit.functional.low_pass import low_pass, low_pass_filter


def wave(size, across, down=0, dtype=torch.float64):
    """A cosine of whole periods over the image."""
    place = torch.arange(size, dtype=dtype) * (2 * math.pi / size)
    return torch.cos(across * place[None] + down * place[:, None])


@pytest.mark.parametrize("size", [16, 15])
@pytest.mark.parametrize(("across", "down"), [(0, 0), (1, 0), (0, 3), (3, 4), (5, -2), (6, 6)])
def test_waves_pass_whole_or_not_at_all(size, across, down):
    """`cutoff` counts in shares of the Nyquist frequency, size / 2 periods."""
    image, radius = wave(size, across, down), math.hypot(across, down)
    for radius_kept in (0.5, 3.0, 5.0, 8.4, 9.0):
        found = low_pass(image, low_pass_filter(size, size, radius_kept / (size / 2)))
        expected = image if radius <= radius_kept else torch.zeros_like(image)
        assert torch.allclose(found, expected, atol=1e-12), radius_kept


def test_the_filter_is_the_circle_of_a_full_spectrum():
    """Against the plain definition on the whole, centerd spectrum."""
    images, radius = torch.randn(2, 3, 12, 18, dtype=torch.float64), 0.5
    v, u = torch.meshgrid(torch.arange(-6, 6), torch.arange(-9, 9), indexing="ij")
    circle = ((v / 6) ** 2 + (u / 9) ** 2).sqrt() <= radius
    spectrum = torch.fft.fftshift(torch.fft.fft2(images), dim=(-2, -1)) * circle
    expected = torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(-2, -1))).real
    assert torch.allclose(low_pass(images, low_pass_filter(12, 18, radius)), expected, atol=1e-12)


def test_the_radius_of_pixmim_is_kept():
    """40 of the 112 frequencies of a crop of 224 pixels."""
    kept = low_pass_filter(224, 224, round(40 / 112, 6))
    assert kept[0, :42].tolist() == [True] * 41 + [False]
    assert kept[24, 32].item()  # 24, 32, 40 is Pythagorean
    assert not kept[25, 32].item()


def test_everything_passes_from_the_square_root_of_two():
    images = torch.randn(2, 3, 9, 14)
    assert torch.allclose(low_pass(images, low_pass_filter(9, 14, 1.4143)), images, atol=1e-5)
    assert not low_pass_filter(14, 14, 1.0).all()


def test_filtering_is_a_projection_and_keeps_the_mean():
    images, kept = torch.randn(4, 16, 16, dtype=torch.float64), low_pass_filter(16, 16, 0.4)
    once = low_pass(images, kept)
    assert torch.allclose(low_pass(once, kept), once, atol=1e-12)
    assert torch.allclose(once.mean((-2, -1)), images.mean((-2, -1)), atol=1e-12)
    assert (once.var((-2, -1)) < images.var((-2, -1))).all()


@pytest.mark.parametrize("given_type", [torch.bfloat16, torch.float32, torch.float64])
def test_half_precision_is_left(given_type):
    found = low_pass(torch.ones(4, 4, dtype=given_type), low_pass_filter(4, 4, 0.5)).dtype
    assert found == (torch.float64 if given_type == torch.float64 else torch.float32)
