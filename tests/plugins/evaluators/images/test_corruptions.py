"""Corruptions: against scikit-image, PIL and their definitions."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import hsv2rgb, rgb2hsv
from skimage.filters import gaussian

from sslkit.functional.pixel_normalization import normalized, unnormalized
from sslkit.runtime import seeds
from sslkit_evaluators.images.corruptions import CORRUPTIONS, MANY, corrupt

COUNT, SIDE = 3, 32


def images(channels=3, side=SIDE, seed=0):
    """Smooth pictures of 8 bits in [0, 1]."""
    return deep_images(channels, side, seed).mul(255).round().div(255)


def deep_images(channels=3, side=SIDE, seed=0):
    """The same as floats."""
    coarse = torch.rand(COUNT, channels, 5, 5, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear")


def draw(*names, rows=None):
    return seeds.draw(0, *names, rows=torch.arange(COUNT) if rows is None else rows)


def raw(name, value, given=None):
    """The change alone, neither clamped nor rounded."""
    return CORRUPTIONS[name].change(images() if given is None else given, draw(name), value)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_severity_moves_further_from_the_image(name, channels):
    given = images(channels)
    distances = []
    for severity in range(1, 6):
        spoiled = corrupt(given, name, severity, draw(name))
        assert spoiled.shape == given.shape
        assert spoiled.min() >= 0
        assert spoiled.max() <= 1
        torch.testing.assert_close(spoiled * 255, (spoiled * 255).round(), atol=1e-4, rtol=0)
        distances.append(float((spoiled - given).square().mean()))
    if name != "pixelate":  # nearby sizes cut a smooth picture now better, now worse
        assert distances == sorted(distances)
    assert distances[-1] > distances[0] > 0


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_is_spoiled_alike_in_any_batch(name):
    given = images()
    whole = corrupt(given, name, 3, draw("x"))
    alone = corrupt(given[2:], name, 3, draw("x", rows=torch.tensor([2])))
    torch.testing.assert_close(whole[2:], alone, atol=1 / 254, rtol=0)
    again = corrupt(given, name, 3, draw("x"))
    assert torch.equal(whole, again)


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name != "jpeg"])
@pytest.mark.parametrize("channels", [1, 2, 3, 13])
def test_images_of_more_than_8_bits_keep_them(name, channels):
    """Image by image, whatever stands beside it."""
    batch = deep_images(channels)
    batch[0] = images(channels)[0]
    back = unnormalized(
        normalized(batch, (0.1,) * channels, (0.07,) * channels), (0.1,) * channels, (0.07,) * channels
    )
    spoiled = corrupt(back, name, 2, draw(name))
    apart = (spoiled * 255 - (spoiled * 255).round()).abs().amax((1, 2, 3))
    assert float(apart[0]) < 1e-3
    assert bool((apart[1:] > 0.1).all()) or name == "impulse_noise"


def test_noise_has_its_deviation():
    gray = torch.full((COUNT, 3, 64, 64), 0.5)
    assert float((raw("gaussian_noise", 0.1, gray) - gray).std()) == pytest.approx(0.1, rel=0.03)


@pytest.mark.parametrize("photons", [5, 60, 500])
@pytest.mark.parametrize("level", [0.1, 0.9])
def test_shot_noise_has_the_mean_and_variance_of_poissons_law(photons, level):
    found = raw("shot_noise", photons, torch.full((COUNT, 3, 96, 96), level)) * photons
    rate = photons * level
    assert float(found.mean()) == pytest.approx(rate, rel=0.02)
    assert float(found.var()) == pytest.approx(rate, rel=0.05)
    torch.testing.assert_close(found, found.round(), atol=1e-3, rtol=0)
    if rate < MANY:
        none = float((found == 0).double().mean())
        assert none == pytest.approx(float(np.exp(-rate)), abs=0.01)


def test_impulses_are_black_and_white_in_equal_shares():
    found = raw("impulse_noise", 0.2, torch.full((COUNT, 3, 96, 96), 0.5))
    shares = [float((found == value).double().mean()) for value in (0.0, 0.5, 1.0)]
    assert shares == pytest.approx([0.1, 0.8, 0.1], abs=0.01)


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.0])
def test_blur_is_scikit_images(sigma):
    given = images()
    expected = [gaussian(x.permute(1, 2, 0).numpy(), sigma, channel_axis=-1, mode="nearest") for x in given]
    found = raw("gaussian_blur", sigma).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(found, np.stack(expected), atol=2e-4)


def test_contrast_keeps_the_mean_color():
    given = images()
    found = raw("contrast", 0.25)
    torch.testing.assert_close(found.mean((2, 3)), given.mean((2, 3)))
    torch.testing.assert_close(found.std((2, 3)), 0.25 * given.std((2, 3)))


def test_brightness_raises_the_value_of_hsv():
    given = images()
    for image, found in zip(given, raw("brightness", 0.2), strict=True):
        hsv = rgb2hsv(image.permute(1, 2, 0).numpy())
        hsv[..., 2] = np.clip(hsv[..., 2] + 0.2, 0, 1)
        np.testing.assert_allclose(found.permute(1, 2, 0).numpy(), hsv2rgb(hsv), atol=1e-5)
    black = raw("brightness", 0.2, torch.zeros(COUNT, 3, 8, 8))
    assert torch.equal(black, torch.full_like(black, 0.2))


def test_pixels_become_blocks():
    found = raw("pixelate", 0.25)
    blocks = found.unfold(2, 4, 4).unfold(3, 4, 4)
    torch.testing.assert_close(blocks, blocks[..., :1, :1].expand_as(blocks))
    torch.testing.assert_close(found.mean(), images().mean())


def test_jpeg_is_pils():
    pixels = (images() * 255).round().to(torch.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels[1].permute(1, 2, 0).numpy()).save(file, "JPEG", quality=40)
    expected = np.asarray(Image.open(file))
    found = corrupt(pixels.float() / 255, "jpeg", 5, draw("jpeg"))
    assert torch.equal((found[1] * 255).round().permute(1, 2, 0), torch.from_numpy(expected.copy()).float())


def test_large_images_take_the_severities_of_imagenet_c():
    small = corrupt(images(side=96), "gaussian_noise", 1, draw("a"))
    large = corrupt(images(side=97), "gaussian_noise", 1, draw("a"))
    deviations = [float((x - images(side=x.shape[-1])).std()) for x in (small, large)]
    assert deviations == pytest.approx([0.04, 0.08], rel=0.1)
