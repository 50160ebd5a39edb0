"""Low-pass pixels as targets. The filter is tested in tests/functional/test_low_pass.py."""

from __future__ import annotations

import pytest
import torch

from sslkit import Frequency, NormalizedPixel, Pixel
from sslkit.core.context import Env, NetInfo
from sslkit.core.passes import Tokens
from sslkit.core.view import Grid, View
from sslkit.functional.low_pass import low_pass, low_pass_filter
from sslkit.functional.patches import patchify

ENV = Env({"a": View(16, 1, 2, (0.0, 0.0), (1.0, 1.0))}, {"student": NetInfo(8, 1)}, {"a": Grid(4, 4, 4)})


def tokens(images):
    return Tokens(images, images.new_zeros(1), images.new_zeros(1), None, ())


@pytest.mark.parametrize("normalized", [False, True])
def test_shapes(normalized):
    target = Frequency(normalized=normalized).build(ENV, "a")
    goal = target(tokens(torch.randn(2, 3, 2, 16, 16)))
    assert target.dim == 32
    assert goal.shape == (2, 3, 16, 32)
    assert target.score(goal.flatten(0, 2), goal.flatten(0, 2)).shape == (96,)


def test_each_crop_is_filtered_whole_and_then_cut_into_patches():
    images = torch.randn(2, 3, 2, 16, 16)
    expected = patchify(low_pass(images, low_pass_filter(16, 16, 0.5)), 4)
    assert torch.equal(Frequency(cutoff=0.5).build(ENV, "a")(tokens(images)), expected)


@pytest.mark.parametrize(("normalized", "unfiltered"), [(False, Pixel()), (True, NormalizedPixel())])
def test_a_filter_that_passes_everything_leaves_the_pixel_targets(normalized, unfiltered):
    seen = tokens(torch.randn(1, 3, 2, 16, 16, dtype=torch.float64))
    target = Frequency(cutoff=1.5, normalized=normalized).build(ENV, "a")
    assert torch.allclose(target(seen), unfiltered.build(ENV, "a")(seen), atol=1e-12)


def test_the_default_is_that_of_pixmim():
    assert Frequency().cutoff == pytest.approx(40 / 112, abs=1e-6)


@pytest.mark.parametrize("normalized", [False, True])
def test_pictures_of_the_goal_are_the_filtered_image(normalized):
    images = torch.randn(1, 3, 2, 16, 16, dtype=torch.float64)
    target = Frequency(normalized=normalized).build(ENV, "a")
    drawn = target.goal_image(target(tokens(images)), tokens(images))
    assert torch.allclose(drawn, low_pass(images, target.passed), atol=1e-12)


@pytest.mark.parametrize(("loss", "expected"), [("l2", 4.0), ("l1", 2.0), ("smooth_l1", 1.5)])
def test_the_loss_is_the_one_of_the_spec(loss, expected):
    target = Frequency(loss=loss).build(ENV, "a")
    assert target.score(torch.full((3, 32), 2.0), torch.zeros(3, 32)).tolist() == [expected] * 3


def test_half_precision_ends_at_the_target():
    """Autocast does not reach the transform."""
    target, images = Frequency().build(ENV, "a"), torch.randn(1, 2, 2, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        goal = target(tokens(images))
    assert goal.dtype == torch.float32
    assert torch.equal(goal, target(tokens(images)))
