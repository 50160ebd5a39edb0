"""The random masker against MAE's `random_masking`."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sslkit import RandomMasker
from sslkit.core.masker import make_mask
from sslkit.core.random_stream import Draw
from sslkit.core.view import Grid
from sslkit.errors import SpecError
from sslkit_maskers.unguided.random import RandomSampler, highest
from tests.masks import UNSEEN, on

GRIDS = [Grid(7, 7, 16), Grid(14, 14, 16), Grid(8, 6, 4), Grid(3, 17, 2)]


@pytest.mark.parametrize("percent", [75, 60, 50])
def test_mae_masks_from_the_same_noise(golden: Callable[[str], dict[str, Any]], percent: int) -> None:
    arrays = golden("mae_random_masking")
    visible = RandomMasker(ratio=percent / 100).visible(16)
    assert visible == arrays[f"x_masked_{percent}"].shape[1]
    assert torch.equal(highest(arrays["noise"], 16 - visible), arrays[f"mask_{percent}"].bool())


@pytest.mark.parametrize("percent", [75, 60, 50])
def test_mae_keeps_the_same_tokens_ours_in_the_order_of_the_image(
    golden: Callable[[str], dict[str, Any]], percent: int
) -> None:
    arrays = golden("mae_random_masking")
    hidden = highest(arrays["noise"], 16 - RandomMasker(ratio=percent / 100).visible(16))
    ours = arrays["x"][~hidden].reshape(4, -1, 32)
    kept = arrays["ids_shuffle"][:, : ours.shape[1]].sort(dim=1)
    theirs = arrays[f"x_masked_{percent}"].gather(1, kept.indices[..., None].expand(-1, -1, 32))
    assert torch.equal(ours, theirs)


@given(st.sampled_from(GRIDS), st.integers(1, 99), st.integers(-(2**63), 2**63))
def test_the_count_is_exact_in_every_image(grid: Grid, percent: int, key: int) -> None:
    visible = grid.patches * (100 - percent) // 100
    if not 0 < visible < grid.patches:
        return
    sampler = RandomMasker(ratio=percent / 100).build(*on(grid))
    hidden = sampler.sample(Draw(key, torch.arange(10).reshape(2, 5)), UNSEEN)
    assert (sampler.visible, sampler.most) == (visible, grid.patches - visible)
    assert hidden.shape == (2, 5, grid.patches)
    assert (hidden.sum(-1) == grid.patches - visible).all()


@pytest.mark.parametrize(
    ("patches", "ratio", "visible"),
    [
        (196, 0.75, 49),
        (196, 0.6, 78),
        (16, 0.6, 6),
        (100, 0.9, 10),
        (100, 0.8, 20),
        (25, 0.8, 5),
        (225, 0.8, 45),
    ],
)
def test_the_visible_count_is_floored_without_float_errors(patches: int, ratio: float, visible: int) -> None:
    """The last four are one too low in MAE's code: int(100 * (1 - 0.9)) is 9."""
    assert RandomMasker(ratio=ratio).visible(patches) == visible


@given(st.integers(1, 2000), st.floats(0.001, 0.999))
def test_the_visible_count_is_the_floor_for_any_ratio(patches: int, ratio: float) -> None:
    exact = patches * (1 - Fraction(repr(ratio)))
    assert RandomMasker(ratio=ratio).visible(patches) == math.floor(exact)


@pytest.mark.parametrize(
    ("grid", "ratio", "text"), [(Grid(2, 2, 8), 0.9, "hides 4 of 4"), (Grid(1, 1, 8), 0.5, "hides 1 of 1")]
)
def test_a_grid_that_is_too_small_is_a_spec_error(grid: Grid, ratio: float, text: str) -> None:
    with pytest.raises(SpecError, match=rf"^ratio {ratio} {text} patches \({grid.rows} x {grid.cols}\)"):
        RandomMasker(ratio=ratio).build(*on(grid))


def test_every_patch_is_hidden_equally_often_and_masks_differ() -> None:
    sampler = RandomSampler(patches=12, visible=5)
    hidden = sampler.sample(Draw(3, torch.arange(12_000)), UNSEEN)
    assert stats.chisquare(hidden.sum(0).numpy()).pvalue > 1e-4
    assert hidden[:500].unique(dim=0).shape[0] > 300


def test_masks_do_not_depend_on_the_batch_they_are_in() -> None:
    sampler = RandomSampler(patches=16, visible=4)
    whole = sampler.sample(Draw(9, torch.arange(8)), UNSEEN)
    halves = [sampler.sample(Draw(9, torch.arange(8)[part]), UNSEEN) for part in (slice(0, 3), slice(3, 8))]
    assert torch.equal(torch.cat(halves), whole)


def test_ties_are_broken_by_position_so_the_count_holds() -> None:
    hidden = highest(torch.zeros(2, 6), 4)
    assert hidden.tolist() == [[False, False, True, True, True, True]] * 2


def test_the_mask_of_a_sampler_says_what_was_sampled() -> None:
    sampler = RandomSampler(patches=16, visible=4)
    rows = torch.arange(6).reshape(2, 3)
    mask = make_mask(sampler, Draw(1, rows), UNSEEN)
    assert torch.equal(mask.hidden, sampler.sample(Draw(1, rows), UNSEEN))
    assert mask.keep.shape == (2, 3, 4)
