"""Gaussian blur against torchvision's kernel, PIL's filter and plain convolution."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from torchvision.transforms.v2 import functional as V

from sslkit.functional import blur
from sslkit.functional.blur import gaussian_blur, gaussian_taps


def images(count: int = 3, height: int = 70, width: int = 61) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
@pytest.mark.parametrize("radius", [1, 3, 11])
def test_it_is_torchvisions_to_1e_5(sigma, radius):
    made = gaussian_blur(images(), torch.full((3,), sigma), radius)
    expected = V.gaussian_blur(images(), [2 * radius + 1] * 2, [sigma] * 2)
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("edge", "mode"), [("reflect", "reflect"), ("replicate", "replicate"), ("zeros", "constant")]
)
def test_edges_and_a_sigma_for_each_image(edge, mode):
    sigma = torch.tensor([0.3, 1.1, 1.9])
    made = gaussian_blur(images(), sigma, 5, edge)
    for image, taps, result in zip(images(), gaussian_taps(sigma, 5), made, strict=True):
        kernel = torch.outer(taps, taps)[None, None]
        expected = F.conv2d(F.pad(image[:, None], (5,) * 4, mode=mode), kernel)[:, 0]
        torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("block", [7, 56, 200])
def test_blocks_only_change_the_speed(block, monkeypatch):
    whole = gaussian_blur(images(), torch.full((3,), 1.5), 6)
    monkeypatch.setattr(blur, "BLOCK", block)
    torch.testing.assert_close(gaussian_blur(images(), torch.full((3,), 1.5), 6), whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_it_is_pils_within_what_pil_approximates(sigma):
    """PIL passes three boxes over bytes in place of a Gaussian: 4/255 on smooth images is its error, not ours."""
    smooth = F.interpolate(images(1, 12, 12), (64, 64), mode="bicubic").clamp(0, 1)
    bytes_ = (smooth[0] * 255).round().to(torch.uint8)
    theirs = Image.fromarray(bytes_.permute(1, 2, 0).numpy()).filter(ImageFilter.GaussianBlur(sigma))
    expected = torch.from_numpy(np.array(theirs)).permute(2, 0, 1) / 255
    made = gaussian_blur(bytes_[None] / 255, torch.tensor([sigma]), 8, "replicate")[0]
    assert (made - expected).abs().max() < 4 / 255
    assert (made - expected).abs().mean() < 1 / 255


def test_taps():
    taps = gaussian_taps(torch.tensor([0.1, 1.0, 2.0]), 4)
    torch.testing.assert_close(taps.sum(-1), torch.ones(3))
    torch.testing.assert_close(taps, taps.flip(-1))
    torch.testing.assert_close(taps[1, 5] / taps[1, 4], torch.tensor(-0.5).exp())


def test_small_images_and_no_radius():
    tiny = images(1, 4, 3)
    assert torch.equal(gaussian_blur(tiny, torch.ones(1), 0), tiny)
    assert gaussian_blur(tiny, torch.ones(1), 8).shape == tiny.shape
    flat = torch.full((1, 3, 5, 5), 0.4)
    for edge in ("reflect", "replicate"):
        torch.testing.assert_close(gaussian_blur(flat, torch.full((1,), 2.0), 9, edge), flat)
    assert gaussian_blur(flat, torch.full((1,), 2.0), 4, "zeros")[0, 0, 0, 0] < 0.3
