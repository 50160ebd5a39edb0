"""Target blocks and a context without them, as in I-JEPA."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sslkit import MultiBlockMasker
from sslkit.core.context import Grid
from sslkit.core.random_stream import Draw
from sslkit.errors import SpecError
from sslkit_maskers.block_sizes import Size, block_size, block_sizes
from sslkit_maskers.unguided.multi_block import MultiBlockSampler
from tests.masks import UNSEEN, on

VIT = Grid(14, 14, 16)
RECIPE = ((0.15, 0.2), (0.75, 1.5))
CASES = [  # grid, target scale and aspect, context scale: the rows of the golden
    (16, *RECIPE, (0.85, 1.0)),
    (14, *RECIPE, (0.85, 1.0)),
    (16, *RECIPE, (0.85, 1.0)),
    (14, *RECIPE, (0.85, 1.0)),
]


def sampler(grid: Grid = VIT, **fields: object) -> MultiBlockSampler:
    built = MultiBlockMasker(**fields).build(*on(grid))  # type: ignore[arg-type]
    assert isinstance(built, MultiBlockSampler)
    return built


def drawn(masker: MultiBlockSampler, key: int = 0, images: int = 200) -> tuple[Tensor, Tensor]:
    """Visible patches `[images, R, C]`, and which are in each block `[images, M, R, C]`."""
    hidden, blocks = masker.sample_blocks(Draw(key, torch.arange(images)), UNSEEN)
    rows, cols = masker.grid.shape
    inside = torch.zeros(*blocks.shape[:2], rows * cols + 1, dtype=torch.bool)
    inside.scatter_(-1, blocks % (rows * cols + 1), True)
    return (~hidden).view(images, rows, cols), inside[..., :-1].unflatten(-1, (rows, cols))


@pytest.mark.parametrize("row", range(4))
def test_sizes_are_the_references(golden, row):
    """Golden ijepa_mask_stats: 60 batches, whose counter seeds torch's generator."""
    side, scale, aspect, context = CASES[row]
    expected = golden("ijepa_mask_stats")[f"sizes_{row}"]
    ours = []
    for batch in range(60):
        generator = torch.Generator().manual_seed(batch)
        shares = [torch.rand(1, generator=generator).item() for _ in range(2)]
        grid = Grid(side, side, 1)
        target = block_size(grid, shares[0], scale, aspect)
        ours.append([*target, *block_size(grid, shares[1], context, (1.0, 1.0))])
    assert ours == expected.tolist()


def test_one_number_gives_scale_and_aspect_so_that_large_blocks_are_tall():
    sizes = block_sizes(VIT, *RECIPE, edges=False)
    assert (sizes[0], sizes[-1]) == (Size(5, 6), Size(8, 5))
    areas = [size.area for size in sizes]
    assert set(areas) == {30, 35, 36, 40}
    assert sizes[0].height < sizes[-1].height


def test_no_block_touches_the_last_row_or_column_but_with_edges():
    """`hits` in the golden's rows are 0 for contexts and targets of all settings."""
    free: dict[bool, Tensor] = {}
    for edges in (False, True):
        parts = [drawn(sampler(edges=edges, cut="random"), key, 100) for key in range(12)]
        everything = torch.cat([shown | blocks.any(1) for shown, blocks in parts])
        free[edges] = everything[:, -1].any(), everything[:, :, -1].any()
    assert free == {False: (False, False), True: (True, True)}


def test_targets_are_rectangles_of_one_size_in_all_images_of_a_step():
    masker = sampler()
    seen = set()
    for key in range(20):
        _, blocks = drawn(masker, key, 30)
        heights, widths = blocks.any(-1).sum(-1), blocks.any(-2).sum(-1)
        assert len(heights.unique()) == len(widths.unique()) == 1
        height, width = int(heights[0, 0]), int(widths[0, 0])
        assert torch.equal(blocks.sum((-2, -1)), torch.full((30, 4), height * width))
        seen.add((height, width))
    assert len(seen) > 2, "steps differ"


def test_contexts_have_a_fixed_count_and_no_patch_of_a_target():
    masker = sampler()
    assert masker.visible == 49
    assert masker.block_shape == (4, 40)
    for key in range(10):
        shown, blocks = drawn(masker, key)
        assert (shown.sum((-2, -1)) == 49).all()
        assert not (shown & blocks.any(1)).any()


def test_where_no_layout_leaves_enough_targets_lie_on_top_of_each_other():
    masker = sampler(ratio=0.4)
    shown, blocks = drawn(masker)
    assert not (shown & blocks.any(1)).any(), "nothing leaks"
    assert (shown.sum((-2, -1)) == masker.visible).all()
    same = (blocks == blocks[:, :1]).flatten(1).all(1)
    assert 0.3 < same.double().mean() < 1


def test_the_union_of_targets_is_as_large_as_the_references(golden):
    """Its mean over 60 batches of 8 images is in column 9 of the golden's rows."""
    expected = golden("ijepa_mask_stats")["rows"][1, 9].item()
    union = [drawn(sampler(ratio=0.9), key, 32)[1].any(1).sum((-2, -1)) for key in range(60)]
    assert torch.cat(union).double().mean().item() == pytest.approx(expected, rel=0.03)


def test_what_is_cut_off_a_context_is_its_end_or_any_of_it():
    """`multiblock.py:164-168` drops the last patches."""
    last, any_ = (torch.cat([drawn(sampler(cut=c), key)[0] for key in range(5)]) for c in ("end", "random"))
    low = slice(9, 13)
    assert last[:, low].double().mean() < any_[:, low].double().mean() / 1.5
    assert (any_.sum((-2, -1)) == 49).all()


def test_a_shared_number_is_that_of_the_key():
    one, two = Draw(3, torch.arange(4)), Draw(3, torch.arange(100, 109))
    numbers = [one.shared() for _ in range(500)]
    assert numbers == [two.shared() for _ in range(500)]
    assert 0 <= min(numbers) < 0.01
    assert 0.99 < max(numbers) < 1
    assert abs(sum(numbers) / 500 - 0.5) < 0.05
    assert Draw(4, torch.arange(4)).shared() != numbers[0]


@pytest.mark.parametrize(
    ("fields", "grid", "message"),
    [
        ({}, Grid(2, 2, 4), r"scale \[0.15, 0.2\] with aspect \[0.75, 1.5\] gives empty target blocks on 4 patches"),
        ({"ratio": 0.1}, VIT, r"ratio 0.1 shows 176 of 196 patches \(14 x 14\), .* may have 129; use a higher ratio"),
        ({"context": (0.01, 0.02)}, VIT, r"a smaller scale, a larger context or a smaller patch$"),
        ({"scale": (0.9, 1.0)}, VIT, r"block of \[0.9, 1.0\] may have 0; use a higher ratio, a smaller scale"),
    ],
)  # fmt: skip
def test_grids_that_are_too_small_are_refused_when_a_run_is_built(fields, grid, message):
    with pytest.raises(SpecError, match=message):
        sampler(grid, **fields)


def test_a_range_must_be_in_order():
    with pytest.raises(SpecError, match=r"scale: a range is \[low, high\]"):
        MultiBlockMasker(scale=(0.2, 0.1))
