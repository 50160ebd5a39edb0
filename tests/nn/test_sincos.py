"""Sin-cos positions against MAE's table."""

from __future__ import annotations

import math

import pytest
import torch

from sslkit.nn.sincos import grid_positions, sincos_positions


@pytest.mark.parametrize(("name", "class_token"), [("table_cls", True), ("table_nocls", False)])
def test_positions_equal_mae(golden, name, class_token):
    """facebookresearch/mae@efb2a8062c20:util/pos_embed.py get_2d_sincos_pos_embed: the column in the first half."""
    table = sincos_positions(64, 7, 7, class_token=class_token)
    assert torch.allclose(table, golden("mae_pos_embed")[name], atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("name", "skipped", "quarters"),
    [("mocov3_table_cls", 1, (2, 3, 0, 1)), ("timm_sincos2d", 0, (2, 0, 3, 1))],
)
def test_the_order_is_not_that_of_timm_and_moco_v3(golden, name, skipped, quarters):
    """The row first (MoCo v3), or sin of both and then cos of both (timm): the trap when loading their weights."""
    ours = sincos_positions(64, 7, 7)
    theirs = golden("mae_pos_embed")[name].double()[skipped:]
    assert not torch.allclose(ours, theirs, atol=1e-3)
    parts = ours.split(16, dim=1)
    assert torch.allclose(torch.cat([parts[i] for i in quarters], 1), theirs, atol=1e-5)


def test_grids_need_not_be_square():
    table = sincos_positions(8, 2, 5).reshape(2, 5, 8)
    assert torch.equal(table[0, :, :4], table[1, :, :4])  # the column half does not depend on the row
    assert torch.equal(table[:, 0, 4:], table[:, 3, 4:])
    assert not torch.equal(table[0, 0], table[1, 0])


def test_width_must_be_a_multiple_of_four():
    with pytest.raises(ValueError, match="multiple of 4, found 6"):
        sincos_positions(6, 2, 2)


def test_positions_of_two_axes_are_those_of_images():
    assert torch.equal(grid_positions(16, (3, 5)), sincos_positions(16, 3, 5))
    table = grid_positions(16, (3, 5), class_token=True)
    assert torch.equal(table, sincos_positions(16, 3, 5, class_token=True))


@pytest.mark.parametrize("shape", [(7,), (2, 3, 4), (2, 2, 2, 2)])
@pytest.mark.parametrize("dim", [16, 24, 30])
def test_every_place_of_any_grid_has_a_code_of_its_own(shape, dim):
    table = grid_positions(dim, shape)
    assert table.shape == (math.prod(shape), dim)
    apart = torch.cdist(table, table) + torch.eye(len(table)) * 9
    assert apart.min() > 0.1
    assert not grid_positions(dim, shape, class_token=True)[0].any()


def test_the_last_axis_comes_first():
    """Places that differ in the first axis only have the same code up to its part."""
    table = grid_positions(24, (2, 3, 4)).reshape(2, 3, 4, 24)
    assert torch.equal(table[0, ..., :16], table[1, ..., :16])
    assert torch.equal(table[:, :, :1, 8:], table[:, :, 1:2, 8:])


def test_a_width_that_holds_no_wave_of_each_axis_is_refused():
    with pytest.raises(ValueError, match="3 axes need a larger width than 4"):
        grid_positions(4, (2, 2, 2))
