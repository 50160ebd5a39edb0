"""Quarter turns, against FeatureLearningRotNet's and PIL's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from sslkit import Turn
from sslkit.errors import SpecError
from sslkit.runtime import seeds

IMAGES = torch.rand(3, 3, 5, 5, generator=torch.Generator().manual_seed(0))


def turned(quarters, images=IMAGES):
    return Turn(quarters=quarters).build(5)(images, seeds.draw(0, "turn", rows=torch.arange(len(images))))


def rotate_img(img, rot):
    """`dataloader.py`, `rotate_img`, on an array `[H, W, C]`."""
    if rot == 0:
        return img
    if rot == 90:
        return np.flipud(np.transpose(img, (1, 0, 2)))
    if rot == 180:
        return np.fliplr(np.flipud(img))
    return np.transpose(np.flipud(img), (1, 0, 2))


@pytest.mark.parametrize("quarters", range(4))
def test_it_turns_as_the_reference(quarters):
    for image, out in zip(IMAGES, turned(quarters), strict=True):
        expected = rotate_img(image.permute(1, 2, 0).numpy(), 90 * quarters)
        np.testing.assert_array_equal(out.permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("quarters", range(4))
def test_it_turns_anticlockwise_as_pil(quarters):
    picture = Image.fromarray((IMAGES[0, 0] * 255).to(torch.uint8).numpy())
    expected = torch.from_numpy(np.asarray(picture.rotate(90 * quarters)).copy())
    assert torch.equal((turned(quarters)[0, 0] * 255).to(torch.uint8), expected)


def test_turns_add_up_and_four_are_none():
    assert torch.equal(turned(1, turned(2)), turned(3))
    assert torch.equal(turned(3, turned(1)), IMAGES)
    assert torch.equal(turned(0), IMAGES)


def test_the_default_is_one_quarter():
    assert Turn() == Turn(quarters=1)
    with pytest.raises(SpecError, match="quarters"):
        Turn(quarters=4)
