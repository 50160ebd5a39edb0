"""Pixel normalization with buffers."""

import torch
from torch import nn

from sslkit.functional.pixel_normalization import normalized, unnormalized
from sslkit.nn.pixel_statistics import PixelNormalization, keep_statistics

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_it_has_the_bits_of_the_function():
    pixels = torch.rand(2, 3, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    normalize = PixelNormalization(MEAN, STD)
    assert torch.equal(normalize(pixels), normalized(pixels, MEAN, STD))
    images = normalize(pixels)
    assert torch.equal(normalize.inverse(images).clamp(0, 1), unnormalized(images, MEAN, STD))
    assert normalize.channels == 3


def test_its_statistics_go_where_it_goes_and_are_not_saved():
    normalize = PixelNormalization(MEAN, STD)
    assert normalize.state_dict() == {}
    assert normalize.to("meta").mean.device.type == "meta"
    assert normalize.double().std.dtype == torch.float64


def test_a_module_may_save_them_under_its_own_name():
    module = nn.Module()
    keep_statistics(module, MEAN, STD, persistent=True)
    assert {name: x.shape for name, x in module.state_dict().items()} == {
        "mean": (3, 1, 1),
        "std": (3, 1, 1),
    }
