"""Arithmetic of feature targets."""

from __future__ import annotations

import pytest
import torch

from sslkit.functional.feature_targets import plain_layer_norm, principal_axes, principal_colors, spread


def test_layer_norm_has_no_scale_and_no_shift():
    x = torch.randn(2, 3, 8, dtype=torch.float64) * 5 + 3
    centerd = x - x.mean(-1, keepdim=True)
    expected = centerd / (centerd.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    assert torch.allclose(plain_layer_norm(x), expected, atol=1e-14)


def test_layer_norm_is_computed_in_float32_for_half_precision():
    x = torch.randn(2, 64, dtype=torch.bfloat16)
    assert torch.equal(plain_layer_norm(x), plain_layer_norm(x.float()))


def test_spread_is_the_deviation_over_patches_as_in_the_reference():
    """facebookresearch/data2vec_vision `engine_for_cyclical.py:106-108`, mean over the dimensions."""
    rows = torch.randn(20, 6, dtype=torch.float64) * torch.arange(1, 7)
    expected = torch.sqrt(rows.var(dim=0) + 1e-6).mean()
    assert spread(rows, torch.ones(20, dtype=torch.bool)).item() == pytest.approx(expected.item(), rel=1e-12)


def test_rows_that_fill_up_do_not_count():
    rows, real = torch.randn(20, 6), torch.arange(20) < 13
    alone = spread(rows[:13], torch.ones(13, dtype=torch.bool))
    assert spread(rows, real).item() == pytest.approx(alone.item(), rel=1e-6)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_rows_that_are_alike_have_no_spread(count):
    rows = torch.full((5, 4), 7.0)
    assert spread(rows, torch.arange(5) < count).item() == pytest.approx(1e-3, rel=1e-4)


@pytest.mark.parametrize("shape", [(40, 7), (7, 40)], ids=["tall", "wide"])
def test_axes_are_the_principal_components(shape):
    rows = torch.randn(shape, dtype=torch.float64) * torch.linspace(3, 1, shape[1]) + 2
    axes = principal_axes(rows, 3)
    _, _, found = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
    assert torch.allclose((axes * found[:3].T).sum(0).abs(), torch.ones(3, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(axes.T @ axes, torch.eye(3, dtype=torch.float64), atol=1e-9)
    assert (axes.gather(0, axes.abs().argmax(0, keepdim=True)) > 0).all()


def test_the_signs_of_axes_do_not_depend_on_the_order_of_rows():
    rows = torch.randn(30, 5, dtype=torch.float64)
    assert torch.allclose(principal_axes(rows, 2), principal_axes(rows.flip(0), 2), atol=1e-9)


@pytest.mark.parametrize("shape", [(9, 4), (3, 40)])
def test_axes_past_the_rank_are_zero(shape):
    line = torch.linspace(-1, 1, shape[0], dtype=torch.float64)[:, None] * torch.ones(1, shape[1])
    axes = principal_axes(line.double() + 5, 6)
    assert axes.shape == (shape[1], 6)
    assert axes[:, 0].norm().item() == pytest.approx(1, rel=1e-9)
    assert not axes[:, 1:].any()


def test_colors_follow_the_first_component():
    line = torch.linspace(0, 1, 101)[:, None] * torch.tensor([[3.0, 1.0]])
    colors = principal_colors(line, line, 3)
    expected = ((torch.linspace(0, 1, 101) - 0.02) / 0.96).clamp(0, 1)
    assert torch.allclose(colors[:, 0], expected, atol=1e-6)
    assert (colors[:, 1:] == 0.5).all()


def test_equal_features_have_equal_colors_and_all_are_shown():
    goal, guess = torch.randn(2, 3, 9, 8), torch.randn(2, 3, 9, 8) * 50
    guess[0, 0, 0] = goal[1, 2, 3]
    ours, theirs = principal_colors(guess, goal, 3), principal_colors(goal, goal, 3)
    assert torch.equal(ours[0, 0, 0], theirs[1, 2, 3])
    assert ours.shape == (2, 3, 9, 3)
    assert ours.dtype == torch.float32
    assert ours.min() == 0
    assert ours.max() == 1


def test_features_that_do_not_vary_are_gray():
    goal = torch.full((4, 6), 0.1)
    assert (principal_colors(torch.randn(4, 6), goal, 3) == 0.5).all()
