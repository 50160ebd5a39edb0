"""MaskFeat's target: layout, errors, loss and pictures. Its arithmetic is tested in tests/functional/test_hog.py."""

from __future__ import annotations

import re

import pytest
import torch

from sslkit import HOG
from sslkit.core.context import Env, NetInfo
from sslkit.core.passes import Tokens
from sslkit.core.view import Grid, View
from sslkit.errors import SpecError
from sslkit.functional.hog import hog


def env(size=32, patch=16, channels=3):
    view = View(size, 1, channels, (0.5,) * channels, (0.25,) * channels)
    grid = Grid(size // patch, size // patch, patch)
    return Env({"a": view}, {"student": NetInfo(8, 1)}, {"a": grid})


def tokens(images):
    return Tokens(images, images.new_zeros(1), images.new_zeros(1), None, ())


def test_the_layout_is_that_of_slowfast(golden):
    """(channel, bin, row of cells, column of cells); the stored layout is of histograms with a window."""
    arrays = golden("hog_target")
    target = HOG().build(env(size=224), "a")
    target.histograms = lambda *_: arrays["hog_img_g16"][None]
    goal = target(tokens(arrays["image_norm"][None]))
    assert target.dim == 108
    assert torch.equal(goal[0], arrays["hog_img_target14"])


def test_values_equal_the_reference(golden):
    arrays = golden("hog_target")
    target = HOG().build(env(), "a").double()
    goal = target(tokens(arrays["x_rand"].double()[None]))
    assert goal.shape == (1, 2, 4, 108)
    values = goal.unflatten(-1, (3, 9, 2, 2)).unflatten(2, (2, 2)).permute(0, 1, 4, 5, 2, 6, 3, 7)
    expected = arrays["hog_rand_g0_f64"]
    assert torch.allclose(values.reshape(2, 3, 9, 4, 4), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("fields", "patch", "dim"),
    [({}, 8, 27), ({"cell": 4}, 8, 108), ({"bins": 6}, 16, 72), ({"cell": 1, "bins": 2}, 2, 24)],
)
@pytest.mark.parametrize("variant", ["slowfast", "conventional"])
def test_shapes(fields, patch, dim, variant):
    target = HOG(variant=variant, **fields).build(env(patch=patch), "a")
    goal = target(tokens(torch.rand(2, 3, 3, 32, 32)))
    assert target.dim == dim
    assert goal.shape == (2, 3, (32 // patch) ** 2, dim)
    assert target.score(goal.flatten(0, 2), goal.flatten(0, 2)).shape == (6 * (32 // patch) ** 2,)


def test_the_variants_differ():
    seen = tokens(torch.rand(1, 2, 3, 32, 32))
    one, two = (HOG(variant=v).build(env(), "a")(seen) for v in ("slowfast", "conventional"))
    assert not torch.allclose(one, two, atol=0.1)


@pytest.mark.parametrize(
    ("patch", "cell", "use"), [(4, 8, "2 or 4"), (12, 8, "2 or 3 or 4 or 6 or 12"), (1, 8, "1")]
)
def test_cells_that_do_not_fit_are_named(patch, cell, use):
    message = f"target.cell: cells of {cell} pixels do not divide patches of {patch}; use a cell of {use}"
    with pytest.raises(SpecError, match=f"^{re.escape(message)}$"):
        HOG(cell=cell).build(env(size=patch * 2, patch=patch), "a")


@pytest.mark.parametrize(("loss", "expected"), [("l2", 4.0), ("l1", 2.0), ("smooth_l1", 1.5)])
def test_the_loss_is_the_one_of_the_spec(loss, expected):
    target = HOG(loss=loss).build(env(), "a")
    assert target.score(torch.full((3, 108), 2.0), torch.zeros(3, 108)).tolist() == [expected] * 3


def test_half_precision_ends_at_the_target():
    """Autocast does not reach the histograms."""
    target, images = HOG().build(env(), "a"), torch.rand(1, 2, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        goal = target(tokens(images))
    assert goal.dtype == torch.float32
    assert torch.equal(goal, target(tokens(images)))


def test_pictures_draw_the_histograms_of_every_cell():
    """An image with a vertical edge in one cell has an upright line there, and black elsewhere."""
    target, images = HOG().build(env(), "a"), torch.zeros(1, 1, 3, 32, 32)
    images[..., 16:24, 12:16] = 1.0
    goal = target(tokens(images))
    drawn = target.goal_image(goal, tokens(images))
    assert drawn.shape == images.shape
    assert torch.equal(drawn, target.to_image(goal, tokens(images)))
    pixels = drawn * 0.25 + 0.5
    assert pixels.min() >= 0
    assert pixels.max() <= 1 + 1e-6
    lit = pixels[0, 0, 0].unflatten(0, (4, 8)).unflatten(2, (4, 8)).sum((1, 3)) > 1e-3
    assert torch.equal(lit, hog(images[0, 0, 0]).sum(0) > 1e-3)
    cell = pixels[0, 0, 0, 16:24, 8:16]
    assert cell[[0, 7]].sum() > 4 * cell[:, [0, 7]].sum()


def test_channels_keep_their_color():
    target, images = HOG().build(env(), "a"), torch.zeros(1, 1, 3, 32, 32)
    images[:, :, 1, 4:9, 4:9] = 1.0
    drawn = target.to_image(target(tokens(images)), tokens(images)) * 0.25 + 0.5
    assert drawn[:, :, 1].max() > 0.1
    assert drawn[:, :, [0, 2]].abs().max() < 1e-6


@pytest.mark.parametrize(("cell", "factor"), [(8, 1), (16, 1), (4, 2), (2, 4), (1, 8)])
def test_glyphs_of_small_cells_are_drawn_larger(cell, factor):
    target, images = HOG(cell=cell).build(env(), "a"), torch.rand(1, 2, 3, 32, 32)
    drawn = target.goal_image(target(tokens(images)), tokens(images))
    assert drawn.shape == (1, 2, 3, 32 * factor, 32 * factor)
