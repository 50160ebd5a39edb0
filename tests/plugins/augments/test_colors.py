"""What the color augmentations draw, against torchvision's transforms, and what they do to images."""

import pytest
import torch
from scipy.stats import ks_2samp, kstest
from torchvision.transforms import ColorJitter as TorchvisionJitter
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as V

from sslkit import ColorJitter, GaussianBlur, Grayscale, Solarize
from sslkit.core.random_stream import Draw
from sslkit.errors import DataError, SpecError
from sslkit.functional.color import OPERATIONS

COUNT = 4000
ROWS = torch.arange(COUNT)


def share(values: torch.Tensor) -> float:
    return values.float().mean().item()


def test_a_jitters_factors_and_orders_are_distributed_as_torchvisions():
    spec = ColorJitter(brightness=0.8, contrast=1.4, saturation=0.3, hue=0.2, probability=0.7)
    factors, order, chosen = spec.build(8).drawn(Draw(4, ROWS))
    torch.manual_seed(6)
    theirs = TorchvisionJitter(0.8, 1.4, 0.3, 0.2)
    ranges = (theirs.brightness, theirs.contrast, theirs.saturation, theirs.hue)
    drawn = [TorchvisionJitter.get_params(*ranges) for _ in range(COUNT)]
    for i, name in enumerate(OPERATIONS):
        assert ks_2samp(factors[:, i].numpy(), [values[1 + i] for values in drawn]).pvalue > 0.005, name
    codes = (order * torch.tensor([64, 16, 4, 1])).sum(-1)
    counts = torch.bincount(codes, minlength=256)
    assert (counts > 0).sum() == 24
    expected = COUNT / 24
    assert (((counts[counts > 0] - expected) ** 2) / expected).sum() < 49.7  # chi-square, 23 degrees, 0.1 %
    assert abs(share(chosen) - 0.7) < 0.03


def test_jittered_colors_are_distributed_as_torchvisions():
    """The mean of each channel of one image, over thousands of draws."""
    image = torch.tensor([0.7, 0.4, 0.2])[:, None, None] * torch.linspace(0.4, 1.3, 16).reshape(1, 4, 4)
    made = ColorJitter(probability=0.8).build(4)(image.expand(COUNT, -1, -1, -1), Draw(7, ROWS))
    torch.manual_seed(8)
    transform = v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8)
    theirs = torch.stack([transform(image) for _ in range(1500)])
    for channel in range(3):
        ours_mean, their_mean = made[:, channel].mean((-1, -2)), theirs[:, channel].mean((-1, -2))
        assert ks_2samp(ours_mean.numpy(), their_mean.numpy()).pvalue > 0.005


def test_sigmas_are_uniform_and_independent_of_the_choice():
    chosen, sigma = GaussianBlur(sigma=(0.1, 2.0), probability=0.3).build(32).drawn(Draw(3, ROWS))
    assert kstest(sigma.numpy(), "uniform", args=(0.1, 1.9)).pvalue > 0.005
    assert abs(share(chosen) - 0.3) < 0.03
    assert ks_2samp(sigma[chosen].numpy(), sigma[~chosen].numpy()).pvalue > 0.005


@pytest.mark.parametrize(
    "spec", [Grayscale(probability=0.3), Solarize(probability=0.3), GaussianBlur(probability=0.3)]
)
def test_the_stated_share_of_images_changes_and_the_others_do_not(spec):
    image = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(1))
    made = spec.build(6)(image.expand(COUNT, -1, -1, -1), Draw(2, ROWS))
    kept = (made == image).flatten(1).all(1)
    assert abs(share(~kept) - 0.3) < 0.03


def test_what_changes_is_what_torchvision_makes():
    images = torch.rand(4, 3, 30, 26, generator=torch.Generator().manual_seed(1))
    draw = Draw(5, ROWS[:4])
    gray = Grayscale(probability=1).build(30)(images, draw)
    torch.testing.assert_close(gray, V.rgb_to_grayscale(images, 3), atol=1e-6, rtol=0)
    assert torch.equal(
        Solarize(threshold=0.3, probability=1).build(30)(images, draw), V.solarize(images, 0.3)
    )
    blur = GaussianBlur(kernel=7, edge="reflect", probability=1).build(30)
    _, sigma = blur.drawn(Draw(9, ROWS[:4]))
    for image, made, s in zip(images, blur(images, Draw(9, ROWS[:4])), sigma.tolist(), strict=True):
        torch.testing.assert_close(made, V.gaussian_blur(image, [7, 7], [s, s]), atol=1e-5, rtol=0)


def test_gray_images():
    images = torch.rand(50, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    draw = Draw(1, ROWS[:50])
    assert torch.equal(Grayscale(probability=1).build(6)(images, draw), images)
    colors = ColorJitter(brightness=0, contrast=0, saturation=0.9, hue=0.5, probability=1).build(6)
    assert torch.equal(colors(images, draw), images)
    assert not torch.equal(ColorJitter(probability=1).build(6)(images, draw), images)
    with pytest.raises(DataError, match="color_jitter: the images have 4 channels"):
        ColorJitter().build(6)(torch.rand(2, 4, 6, 6), Draw(1, ROWS[:2]))


@pytest.mark.parametrize(
    ("kernel", "size", "radius"), [("tenth", 224, 11), ("tenth", 96, 4), ("auto", 9, 8), (23, 9, 11)]
)
def test_kernels(kernel, size, radius):
    assert GaussianBlur(kernel=kernel).radius(size) == radius


@pytest.mark.parametrize(
    ("spec_class", "fields", "message"),
    [
        (ColorJitter, {"hue": 0.6}, "less than or equal to 0.5"),
        (ColorJitter, {"brightness": -1}, "greater than or equal to 0"),
        (GaussianBlur, {"sigma": (0.0, 2.0)}, "0 < low <= high"),
        (GaussianBlur, {"kernel": 4}, "odd number"),
        (GaussianBlur, {"kernel": "wide"}, "must be 'auto', 'tenth' or an odd number"),
        (GaussianBlur, {"edge": "wrap"}, "is not a choice"),
        (Solarize, {"threshold": 2}, "less than or equal to 1"),
        (Grayscale, {"probability": -0.1}, "greater than or equal to 0"),
    ],
)
def test_bad_settings_are_refused(spec_class, fields, message):
    with pytest.raises(SpecError, match=message):
        spec_class(**fields)
