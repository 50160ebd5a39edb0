"""Block masks against stored draws of iBOT's and DINOv2's code, and against a plain loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from sslkit import BlockMasker
from sslkit.core.random_stream import Draw
from sslkit.core.view import Grid
from sslkit.errors import SpecError
from sslkit_maskers.unguided.block import ATTEMPTS, BLOCKS, BlockSampler, Box, covered, inside, painted
from tests.masks import UNSEEN, on

VIT = Grid(14, 14, 16)
ROWS = torch.arange(2000)
"""The images of one step: neighbors, as in a batch."""
P = 0.01
IBOT = {
    "r30v20": BlockMasker(recipe="ibot", ratio=(0.1, 0.5), share=1),
    "r30v00": BlockMasker(recipe="ibot", ratio=0.3, share=1),
    "r50v00": BlockMasker(recipe="ibot", ratio=0.5, share=1),
    "r00_30v20": BlockMasker(recipe="ibot"),
}
"""Configurations of the stored draws: ratio 0.3 ± 0.2, 0.3, 0.5, and the default, none or 0.3 ± 0.2."""

Golden = Callable[[str], dict[str, Any]]


def same_counts(ours: Tensor, theirs: Tensor) -> float:
    """p of the two samples' being of one distribution (chi-square; counts are pooled to at least 10)."""
    both = torch.stack([torch.bincount(counts, minlength=197) for counts in (ours, theirs)], 1)
    pooled, held = [], torch.zeros(2, dtype=torch.long)
    for cell in both:
        held = held + cell
        if held.sum() >= 10:
            pooled.append(held)
            held = torch.zeros_like(held)
    pooled[-1] = pooled[-1] + held
    return float(stats.chi2_contingency(torch.stack(pooled).numpy()).pvalue)


def same_maps(hidden: Tensor, frequency: Tensor, leading: int = 50) -> tuple[float, float]:
    """p of equal frequencies of 2,000 stored masks, by position.

    The first is Hotelling's: patches of a mask go together, so their deviations are weighed by the covariance of
    our masks, along its leading directions. The second is that of the most deviant position (Bonferroni).
    """
    masks = hidden.double()
    off = frequency.flatten().double() - masks.mean(0)
    share = 1 / 2000 + 1 / len(masks)
    variance, direction = torch.linalg.eigh(torch.cov(masks.T) * share)
    score = ((direction.T @ off) ** 2 / variance)[-leading:].sum()
    pooled = (masks.mean(0) * len(masks) + frequency.flatten() * 2000) / (len(masks) + 2000)
    deviation = (off / (pooled * (1 - pooled) * share).sqrt()).abs().max()
    return float(stats.chi2.sf(score, leading)), min(1.0, 2 * len(off) * float(stats.norm.sf(deviation)))


@pytest.mark.parametrize("name", IBOT)
def test_masks_are_distributed_as_ibot_s(golden: Golden, name: str) -> None:
    arrays = golden("ibot_block_mask_stats")
    hidden = IBOT[name].build(*on(VIT)).sample(Draw(0, ROWS), UNSEEN)
    assert same_counts(hidden.sum(-1), (arrays[f"ratios_{name}"] * 196).round().long()) > P
    assert min(same_maps(hidden, arrays[f"freqmap_{name}"])) > P


@pytest.mark.parametrize("goal", [20, 59, 98])
def test_masks_are_distributed_as_dinov2_s(golden: Golden, goal: int) -> None:
    arrays = golden("dinov2_block_mask_stats")
    hidden = BlockSampler(VIT, goal, goal, min_block=4, min_aspect=0.3, whole=True).sample(
        Draw(0, ROWS), UNSEEN
    )
    assert same_counts(hidden.sum(-1), arrays[f"counts_{goal}"].long()) > P
    assert min(same_maps(hidden, arrays[f"freqmap_{goal}"])) > P


def test_the_tests_above_tell_smaller_blocks_apart(golden: Golden) -> None:
    arrays = golden("ibot_block_mask_stats")
    hidden = (
        BlockMasker(recipe="ibot", ratio=0.3, share=1, min_block=8)
        .build(*on(VIT))
        .sample(Draw(0, ROWS), UNSEEN)
    )
    counts = (arrays["ratios_r30v00"] * 196).round().long()
    assert same_counts(hidden.sum(-1), counts) < 1e-6


def looped(sampler: BlockSampler, key: int, row: int) -> Tensor:
    """One mask by loops over blocks, attempts and patches, from the same random numbers."""
    draw = Draw(key, torch.tensor([row]))
    goal = sampler.low + (sampler.high - sampler.low) * float(draw.uniform()[0])
    goal = math.floor(goal) if sampler.whole else goal
    if not bool(draw.chance(sampler.share)[0]):
        goal = 0.0
    rows, cols = sampler.grid.rows, sampler.grid.cols
    mask, count = np.zeros((rows, cols), bool), 0
    for _ in range(BLOCKS):
        numbers, room, added = draw.uniform(4, ATTEMPTS)[0].tolist(), goal - count, 0
        for area, shape, y, x in zip(*numbers, strict=True) if room > 0 else ():
            target = sampler.min_block + (room - sampler.min_block) * area
            aspect = math.exp(sampler.log_aspect * (2 * shape - 1))
            height, width = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
            if height < rows and width < cols:
                top, left = int(y * (rows - height + 1)), int(x * (cols - width + 1))
                box = mask[top : top + height, left : left + width]
                if 0 < (~box).sum() <= room:
                    added = int((~box).sum())
                    box[:] = True
                    break
        if not added:
            break
        count += added
    return torch.from_numpy(mask).flatten()


@pytest.mark.parametrize("recipe", ["beit", "ibot", "dinov2"])
@pytest.mark.parametrize("grid", [VIT, Grid(7, 7, 32), Grid(9, 6, 4)], ids=str)
def test_batches_hold_the_masks_of_the_loop(recipe: Any, grid: Grid) -> None:
    sampler = BlockMasker(recipe=recipe).build(*on(grid))
    assert isinstance(sampler, BlockSampler)
    hidden = sampler.sample(Draw(11, torch.arange(40)), UNSEEN)
    assert torch.equal(hidden, torch.stack([looped(sampler, 11, row) for row in range(40)]))


@settings(max_examples=30)
@given(st.integers(5, 95), st.integers(1, 12), st.floats(0.05, 1), st.integers(0, 99))
def test_the_goal_is_never_exceeded(percent: int, smallest: int, aspect: float, key: int) -> None:
    try:
        masker = BlockMasker(ratio=percent / 100, min_block=smallest, min_aspect=aspect).build(
            *on(Grid(6, 9, 8))
        )
    except SpecError:
        return
    counts = masker.sample(Draw(key, torch.arange(24)), UNSEEN).sum(-1)
    assert masker.most == 54 * percent // 100
    assert counts.max() <= masker.most


def test_a_ratio_is_drawn_for_each_image() -> None:
    hidden = (
        BlockMasker(recipe="dinov2", ratio=(0.2, 0.4), share=1).build(*on(VIT)).sample(Draw(5, ROWS), UNSEEN)
    )
    share = hidden.double().mean(-1)
    assert 0.17 < share.min() < 0.23 < 0.37 < share.max() <= 0.4
    assert float(share.mean()) == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_some_images_stay_whole(share: float) -> None:
    hidden = BlockMasker(share=share).build(*on(VIT)).sample(Draw(5, ROWS), UNSEEN)
    assert float(hidden.any(-1).double().mean()) == pytest.approx(share, abs=0.04)


def test_the_recipes_are_those_of_the_references() -> None:
    made = {r: BlockMasker(recipe=r).build(*on(VIT)) for r in ("beit", "ibot", "dinov2")}  # type: ignore[arg-type]
    assert {r: (m.min_block, m.most, m.share, m.whole) for r, m in made.items()} == {  # type: ignore[attr-defined]
        "beit": (16, 75, 1.0, True),
        "ibot": (16, 98, 0.5, False),
        "dinov2": (4, 98, 0.5, True),
    }
    assert BlockMasker(recipe="ibot").build(*on(Grid(16, 7, 14))).min_block == 4  # type: ignore[attr-defined]
    mine = BlockMasker(recipe="ibot", min_block=3, ratio=0.25, share=0.75).build(*on(VIT))
    assert (mine.min_block, mine.low, mine.high, mine.share) == (3, 49, 49, 0.75)  # type: ignore[attr-defined]


@given(st.integers(0, 4), st.integers(0, 6), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
def test_patches_inside_a_box_are_counted(top: int, left: int, height: int, width: int, key: int) -> None:
    hidden = Draw(key, torch.arange(3)).chance(0.5, 5, 7)
    box = Box(*(torch.full((3, 1), side) for side in (top, left, height, width)))
    expected = hidden[:, top : top + height, left : left + width].sum((-2, -1))
    assert torch.equal(covered(hidden, box)[:, 0], expected)


def test_boxes_are_painted() -> None:
    box = Box(*(torch.tensor(sides) for sides in ([1, 0], [2, 0], [2, 0], [1, 3])))
    first, second = painted(box, 3, 4)
    assert first.nonzero().tolist() == [[1, 2], [2, 2]]
    assert not second.any(), "a box without height"
    assert inside(torch.tensor(1), torch.tensor(2), 4).tolist() == [False, True, True, False]


@pytest.mark.parametrize(
    ("fields", "grid", "text"),
    [
        ({}, Grid(4, 4, 4), r"min_block 16 is more than the 6 of 16 patches \(4 x 4\) that ratio 0.3827 hides at most"),
        ({"min_block": 9, "ratio": 0.9, "min_aspect": 0.81}, Grid(3, 30, 4), r"min_block 9 does not fit .* 0.81; use"),
        ({"min_block": 1}, Grid(1, 30, 4), r"min_block 1 does not fit inside 30 patches \(1 x 30\)"),
    ],
)  # fmt: skip
def test_a_grid_without_room_for_a_block_is_a_spec_error(fields: Any, grid: Grid, text: str) -> None:
    with pytest.raises(SpecError, match=f"^{text}"):
        BlockMasker(**fields).build(*on(grid))


def test_a_grid_with_room_for_one_shape_only_gets_blocks_of_it() -> None:
    masker = BlockMasker(ratio=0.9, min_block=4, min_aspect=1).build(*on(Grid(3, 3, 4)))
    hidden = masker.sample(Draw(0, torch.arange(200)), UNSEEN).view(-1, 3, 3)
    assert hidden.any((-2, -1)).all()
    assert (hidden[:, :2, :2].all((-2, -1)) | hidden[:, 1:, 1:].all((-2, -1))
            | hidden[:, 1:, :2].all((-2, -1)) | hidden[:, :2, 1:].all((-2, -1))).all()  # fmt: skip


@pytest.mark.parametrize("ratio", [(0.5, 0.1), (0.0, 0.5), 1.0])
def test_ranges_are_in_order_and_below_one(ratio: Any) -> None:
    with pytest.raises(SpecError, match="ratio"):
        BlockMasker(ratio=ratio)
