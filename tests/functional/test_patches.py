"""Patches against MAE's patchify."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sslkit.functional.patches import (
    conv_patches,
    grid_crops,
    grid_patches,
    patch_statistics,
    patchify,
    pixel_shuffle_order,
    unpatchify,
)
from sslkit.functional.precision import at_least_float32


def test_patchify_equals_mae(golden):
    """facebookresearch/mae@efb2a8062c20:models_mae.py patchify: order (row, column, channel)."""
    arrays = golden("mae_patchify")
    patches = patchify(arrays["imgs"][None], 8)
    assert torch.equal(patches[0], arrays["patches"])
    assert torch.equal(unpatchify(patches, 8, rows=4)[0], arrays["unpatchified"])


@given(
    views=st.integers(1, 3), batch=st.integers(1, 3), channels=st.integers(1, 4),
    rows=st.integers(1, 5), cols=st.integers(1, 5), patch=st.integers(1, 6),
)  # fmt: skip
def test_unpatchify_undoes_patchify(views, batch, channels, rows, cols, patch):
    shape = (views, batch, channels, rows * patch, cols * patch)
    images = torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape)
    patches = patchify(images, patch)
    assert patches.shape == (views, batch, rows * cols, patch * patch * channels)
    assert torch.equal(unpatchify(patches, patch, rows), images)


def test_conv_patches_make_a_convolution_a_matrix_product():
    conv = torch.nn.Conv2d(3, 7, 4, 4).double()
    images = torch.randn(2, 3, 12, 8, dtype=torch.float64)
    product = torch.nn.functional.linear(conv_patches(images, 4), conv.weight.flatten(1), conv.bias)
    assert torch.allclose(product, conv(images).flatten(2).transpose(1, 2), atol=1e-12)


@pytest.mark.parametrize(("patch", "channels"), [(1, 3), (2, 1), (4, 3), (3, 5)])
def test_a_permutation_leads_from_pixel_shuffle_to_patchify(patch, channels):
    """The values before PixelShuffle, reordered, are the patches of what it makes of them."""
    before = torch.randn(2, channels * patch**2, 3, 4)
    images = torch.nn.functional.pixel_shuffle(before, patch)
    tokens = before.flatten(2).transpose(1, 2)
    order = pixel_shuffle_order(patch, channels)
    assert torch.equal(tokens[..., order], patchify(images[None], patch)[0])
    assert torch.equal(order.sort().values, torch.arange(len(order)))


def test_statistics_are_those_of_normalized_pixels_in_mae(golden):
    """(x - mean) / sqrt(unbiased variance + 1e-6)."""
    arrays = golden("mae_forward_tiny")
    patches = patchify(arrays["imgs"][None], 8)
    mean, scale = patch_statistics(patches)
    assert mean.shape == scale.shape == (*patches.shape[:-1], 1)
    assert torch.allclose(((patches - mean) / scale)[0], arrays["target_norm"], atol=1e-12)


@pytest.mark.parametrize(
    ("given_type", "expected"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_losses_leave_half_precision_only(given_type, expected):
    assert at_least_float32(torch.ones(2, dtype=given_type)).dtype == expected


AXES = st.integers(1, 4).flatmap(
    lambda axes: st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=axes, max_size=axes)
)


@given(cuts=AXES, channels=st.integers(1, 3))
def test_crops_of_any_axes_are_cut_and_put_together(cuts, channels):
    shape, sides = (tuple(numbers) for numbers in zip(*cuts, strict=True))
    whole = (2, channels, *(count * side for count, side in cuts))
    crops = torch.arange(torch.Size(whole).numel(), dtype=torch.float32).reshape(whole)
    patches = grid_patches(crops, sides)
    assert patches.shape == (2, math.prod(shape), math.prod(sides) * channels)
    assert torch.equal(grid_crops(patches, shape, sides), crops)


def test_patches_of_two_axes_are_those_of_images():
    images = torch.randn(2, 3, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    assert torch.equal(grid_patches(images, (4, 4)), patchify(images, 4))
    assert torch.equal(grid_patches(images[0], (4, 4), channels_first=True), conv_patches(images[0], 4))


def test_cubelets_in_the_order_of_a_kernel_are_a_convolution():
    generator = torch.Generator().manual_seed(0)
    clips = torch.randn(2, 3, 4, 8, 12, generator=generator, dtype=torch.float64)
    kernel = torch.randn(5, 3, 2, 4, 4, generator=generator, dtype=torch.float64)
    expected = torch.nn.functional.conv3d(clips, kernel, stride=(2, 4, 4)).flatten(2).mT
    tokens = grid_patches(clips, (2, 4, 4), channels_first=True) @ kernel.flatten(1).T
    assert torch.allclose(tokens, expected)
