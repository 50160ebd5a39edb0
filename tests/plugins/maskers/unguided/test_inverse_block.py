"""One visible block, as in CAPI."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from sslkit import InverseBlockMasker
from sslkit.core.random_stream import Draw
from sslkit.core.view import Grid
from sslkit.errors import SpecError
from sslkit_maskers.unguided.inverse_block import InverseBlockSampler, rolled
from tests.masks import UNSEEN, on

VIT = Grid(14, 14, 16)


def shown(sampler: InverseBlockSampler, rows: int, key: int = 0) -> Tensor:
    hidden = sampler.sample(Draw(key, torch.arange(rows)), UNSEEN)
    return ~hidden.view(rows, sampler.grid.rows, sampler.grid.cols)


def looped(sampler: InverseBlockSampler, key: int, row: int) -> Tensor:
    """CAPI's steps for one image: a rectangle of at least n patches, its first n in reading order, a roll."""
    draw, (rows, cols) = Draw(key, torch.tensor([row])), sampler.grid.shape
    count = int(sampler.visible or 0)
    low = max(math.log(0.5), math.log(count / cols**2))
    high = min(math.log(2), math.log(rows**2 / count))
    aspect = math.exp(low + (high - low) * float(draw.uniform()))
    height, width = math.ceil(math.sqrt(count * aspect)), math.ceil(math.sqrt(count / aspect))
    top = int(float(draw.uniform()) * (rows - height + 1))
    left = int(float(draw.uniform()) * (cols - width + 1))
    block = torch.zeros(rows, cols, dtype=torch.bool)
    block[top : top + height, left : left + width] = True
    first = torch.zeros(rows * cols, dtype=torch.bool)
    first[block.flatten().nonzero().flatten()[:count]] = True
    shift = (int(draw.integers(rows)), int(draw.integers(cols)))
    return first.view(rows, cols).roll(shift, (0, 1))


@pytest.mark.parametrize("grid", [VIT, Grid(8, 6, 4), Grid(10, 13, 4)], ids=str)
def test_batches_hold_the_masks_of_the_loop(grid: Grid) -> None:
    sampler = InverseBlockMasker().build(*on(grid))
    assert isinstance(sampler, InverseBlockSampler)
    ours = ~sampler.sample(Draw(5, torch.arange(60)), UNSEEN).view(60, grid.rows, grid.cols)
    assert torch.equal(ours, torch.stack([looped(sampler, 5, row) for row in range(60)]))


@settings(max_examples=60)
@given(st.integers(1, 12), st.integers(2, 12), st.integers(5, 95), st.floats(0.1, 1), st.booleans())
def test_the_visible_count_is_exact_on_any_grid(
    rows: int, cols: int, percent: int, aspect: float, roll: bool
) -> None:
    hidden = rows * cols * percent // 100
    spec = InverseBlockMasker(ratio=percent / 100, min_aspect=aspect, roll=roll)
    if not hidden:
        return
    sampler = spec.build(*on(Grid(rows, cols, 4)))
    assert (sampler.most, sampler.visible) == (hidden, rows * cols - hidden)
    assert (sampler.sample(Draw(1, torch.arange(20)), UNSEEN).sum(-1) == hidden).all()


def test_what_is_visible_is_a_block_but_for_its_last_patches() -> None:
    sampler = InverseBlockSampler(VIT, 30, 0.5, roll=False)
    for mask in shown(sampler, 200):
        y, x = mask.nonzero().T
        height, width = int(y.max() - y.min()) + 1, int(x.max() - x.min()) + 1
        box = mask[y.min() : y.max() + 1, x.min() : x.max() + 1]
        assert box.flatten().nonzero().flatten().tolist() == list(range(30)), "the first 30 in reading order"
        assert height * width - 30 < width, "the rows after those were cut off"
        assert 0.45 < height / width < 2.3


def test_the_block_rolls_over_the_edges_of_the_image() -> None:
    sampler = InverseBlockSampler(VIT, 49, 1.0, roll=True)
    masks = shown(sampler, 2000)
    across = masks[:, :, 0].any(-1) & masks[:, :, -1].any(-1)
    down = masks[:, 0].any(-1) & masks[:, -1].any(-1)
    assert 0.35 < across.double().mean() < 0.5, "6 of 14 shifts of 7 columns"
    assert (across & down).any()


def test_every_patch_is_visible_equally_often_with_the_roll_only() -> None:
    def variance(roll: bool) -> float:
        """That of the places' frequencies, in units of that of as many independent masks."""
        frequency = shown(InverseBlockSampler(VIT, 49, 0.5, roll), 4000).double().mean(0)
        return float(frequency.var() / (0.25 * 0.75 / 4000))

    assert variance(roll=True) < 2
    assert variance(roll=False) > 50


def test_a_roll_is_that_of_torch() -> None:
    masks = Draw(0, torch.arange(30)).chance(0.3, 4, 5)
    down, right = torch.arange(30) % 4, torch.arange(30) % 5
    expected = [mask.roll((int(y), int(x)), (0, 1)) for mask, y, x in zip(masks, down, right, strict=True)]
    assert torch.equal(rolled(masks, down, right), torch.stack(expected))


def test_shapes_are_uniform_in_the_logarithm() -> None:
    masks = shown(InverseBlockSampler(Grid(64, 64, 4), 400, 0.5, roll=False), 1500)
    widths = masks.any(-2).sum(-1).double()
    assert (widths.min(), widths.max()) == (15, 29), "20 / sqrt(2) and 20 sqrt(2), rounded up"
    reached = torch.arange(14, 30).double().clamp(20 / 2**0.5, 20 * 2**0.5).log()
    expected = 1500 * reached.diff() / math.log(2)
    counts = torch.bincount(widths.long(), minlength=30)[15:]
    assert stats.chisquare(counts.numpy(), expected.numpy()).pvalue > 1e-4


def test_a_narrow_grid_narrows_the_shapes() -> None:
    sampler = InverseBlockMasker(ratio=0.4).build(*on(Grid(3, 17, 2)))
    assert (shown(sampler, 50).any(-1).sum(-1) == 3).all(), "31 patches need all 3 rows"  # type: ignore[arg-type]


@pytest.mark.parametrize(("grid", "ratio"), [(Grid(1, 1, 8), 0.5), (Grid(2, 2, 8), 0.2)])
def test_a_grid_that_is_too_small_is_a_spec_error(grid: Grid, ratio: float) -> None:
    with pytest.raises(SpecError, match=rf"^ratio {ratio} hides 0 of {grid.patches} patches"):
        InverseBlockMasker(ratio=ratio).build(*on(grid))
