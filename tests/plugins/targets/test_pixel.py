"""Pixel targets; parity with MAE is in tests/plugins/objectives/masked/test_mae.py."""

from __future__ import annotations

import pytest
import torch

from sslkit import NormalizedPixel, Pixel
from sslkit.core.context import Env, NetInfo
from sslkit.core.passes import Tokens
from sslkit.core.view import Grid, View

ENV = Env({"a": View(16, 1, 2, (0.0, 0.0), (1.0, 1.0))}, {"student": NetInfo(8, 1)}, {"a": Grid(4, 4, 4)})


def tokens(images):
    return Tokens(images, images.new_zeros(1), images.new_zeros(1), None, ())


@pytest.mark.parametrize("spec", [Pixel(), NormalizedPixel()])
def test_shapes(spec):
    target = spec.build(ENV, "a")
    images = torch.randn(2, 3, 2, 16, 16)
    goal = target(tokens(images))
    assert target.dim == 32
    assert goal.shape == (2, 3, 16, 32)
    assert target.score(goal.flatten(0, 2), goal.flatten(0, 2)).shape == (96,)


def test_pixels_draw_the_image_back():
    target, images = Pixel().build(ENV, "a"), torch.randn(2, 3, 2, 16, 16)
    assert torch.equal(target.to_image(target(tokens(images)), tokens(images)), images)


def test_normalized_pixels_have_no_mean_and_unit_scale():
    target = NormalizedPixel().build(ENV, "a")
    goal = target(tokens(torch.randn(1, 3, 2, 16, 16, dtype=torch.float64) * 7 + 3))
    assert goal.mean(-1).abs().max() < 1e-12
    assert torch.allclose(goal.var(-1), torch.ones(1, 3, 16, dtype=torch.float64), atol=1e-6)


def test_a_flat_patch_is_not_divided_by_zero():
    target = NormalizedPixel().build(ENV, "a")
    assert torch.equal(target(tokens(torch.ones(1, 1, 2, 16, 16))), torch.zeros(1, 1, 16, 32))


@pytest.mark.parametrize(("loss", "expected"), [("l2", 4.0), ("l1", 2.0), ("smooth_l1", 1.5)])
def test_the_loss_is_the_one_of_the_spec(loss, expected):
    target = Pixel(loss=loss).build(ENV, "a")
    assert target.score(torch.full((3, 32), 2.0), torch.zeros(3, 32)).tolist() == [expected] * 3
