"""Patch tokens from one grid to another."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sslkit.functional.patch_maps import resample_patches


def test_equal_grids_change_nothing():
    patches = torch.randn(2, 3, 6, 5)
    assert resample_patches(patches, (2, 3), (2, 3)) is patches


def test_rows_and_columns_stay_where_they_are():
    """A map that is its column number keeps growing along columns, and is the same in each row."""
    columns = torch.arange(4.0).repeat(2)[None, :, None]
    wide = resample_patches(columns, (2, 4), (4, 8), "bilinear").unflatten(1, (4, 8))[0, ..., 0]
    expected = torch.tensor([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])
    torch.testing.assert_close(wide, expected.expand(4, -1))


def test_antialiasing_averages_what_a_patch_covers():
    """One bright patch of 8 x 8: the fourth of one patch of 2 x 2 covers 16; a plain sample may miss it."""
    patches = torch.zeros(1, 64, 1)
    patches[0, 0] = 1
    plain = resample_patches(patches, (8, 8), (2, 2), "bilinear")
    smooth = resample_patches(patches, (8, 8), (2, 2), "bilinear", antialias=True)
    assert plain[0, 0].item() == 0
    assert smooth[0, 0].item() > 0.004


@pytest.mark.parametrize("how", ["bicubic", "bilinear"])
def test_each_crop_of_each_image_is_resampled_by_itself(how):
    patches = torch.randn(2, 3, 12, 5)
    resampled = resample_patches(patches, (3, 4), (2, 2), how)
    assert resampled.shape == (2, 3, 4, 5)
    one = F.interpolate(patches[1, 2].T.reshape(1, 5, 3, 4), (2, 2), mode=how, align_corners=False)
    torch.testing.assert_close(resampled[1, 2], one[0].flatten(1).T)


def test_half_precision_becomes_float32():
    assert resample_patches(torch.ones(1, 4, 2).half(), (2, 2), (1, 1)).dtype == torch.float32
