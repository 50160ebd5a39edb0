"""What holds for every masker that is installed, on square, oblong and very flat grids."""

from __future__ import annotations

import copy
from itertools import product

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_map_only

from sslkit import (
    BernoulliMasker,
    BlockMasker,
    GridMasker,
    InverseBlockMasker,
    MixtureMasker,
    MultiBlockMasker,
    RandomMasker,
    UnitMasker,
    catalog,
)
from sslkit.core.masker import Masker, Scene, make_mask
from sslkit.core.passes import Encode, Tokens
from sslkit.core.random_stream import Draw
from sslkit.core.view import Grid
from sslkit.errors import SpecError
from sslkit.specs.families import MaskerSpec
from sslkit.testing.fake_scene import scene_of
from tests.masks import UNSEEN, on

GRIDS = [Grid(7, 7, 32), Grid(14, 14, 16), Grid(8, 6, 4), Grid(3, 17, 2)]
VARIANTS = [
    RandomMasker(ratio=0.5),
    BernoulliMasker(ratio=0.1),
    BlockMasker(recipe="ibot"),
    BlockMasker(recipe="dinov2"),
    BlockMasker(ratio=(0.3, 0.9), min_block=2, min_aspect=0.1),
    BlockMasker(ratio=0.25, min_block=1, min_aspect=1.0, share=0.2),
    InverseBlockMasker(ratio=0.9, roll=False),
    InverseBlockMasker(ratio=0.1, min_aspect=1.0),
    GridMasker(cell=3),
    GridMasker(cell=5),
    MultiBlockMasker(cut="random", edges=True),
    MultiBlockMasker(ratio=0.5, targets=2),
    UnitMasker(unit=4, ratio=0.5),
    UnitMasker(unit=8, ratio=0.3),
    MixtureMasker(maskers=(RandomMasker(ratio=0.6), GridMasker(), BlockMasker(min_block=4))),
]
KINDS = {kind: cls for kind, cls in catalog.kinds("masker").items() if cls.axes is None or 2 in cls.axes}
"""Those that serve images; the kit tries the others."""
SPECS = [*(cls.example() for cls in KINDS.values()), *VARIANTS]
ROWS = torch.arange(96).reshape(2, 48)
BLIND = {type(cls.example().build(*on(Grid(14, 14, 16)))) for cls in (
    RandomMasker, BernoulliMasker, BlockMasker, InverseBlockMasker, GridMasker, UnitMasker,
    MultiBlockMasker)}  # fmt: skip
"""Maskers that look at nothing."""
SCENES: dict[tuple[Grid, tuple[Encode, ...]], Scene] = {}
"""What has been shown, for 96 rows."""
refusals: list[str] = []
"""What maskers say that do not fit."""


def build(spec: MaskerSpec, grid: Grid) -> Masker | None:
    """The masker, or None where it says that it does not fit."""
    try:
        return spec.build(*on(grid)).at(0.0)
    except SpecError as error:
        refusals.append(str(error))
        return None


CASES = [
    pytest.param(masker, grid, id=f"{spec.summary()}-{grid.rows}x{grid.cols}")
    for spec, grid in product(SPECS, GRIDS)
    if (masker := build(spec, grid)) is not None
]
every_case = pytest.mark.parametrize(("masker", "grid"), CASES)


def sample(masker: Masker, grid: Grid, key: int = 3, rows: Tensor = ROWS) -> Tensor:
    return masker.sample(Draw(key, rows), scene(masker, grid, rows))


def scene(masker: Masker, grid: Grid, rows: Tensor) -> Scene:
    """What `rows`, below 96, look like to the masker; on the device of `rows`."""
    if type(masker) in BLIND:
        return UNSEEN
    key = (grid, masker.passes)
    if key not in SCENES:
        SCENES[key] = scene_of(masker, grid, torch.arange(96))
    image, tokens = SCENES[key]
    return Scene(image.to(rows.device)[rows], tuple(shown(answer, rows) for answer in tokens))


def shown(answer: Tokens, rows: Tensor) -> Tokens:
    return tree_map_only(Tensor, lambda values: values.to(rows.device)[rows], answer)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.summary())
def test_every_masker_fits_some_grid(spec: MaskerSpec) -> None:
    assert any(build(spec, grid) for grid in GRIDS)


def test_who_does_not_fit_says_what_to_do() -> None:
    assert refusals
    for said in refusals:
        assert any(way in said for way in ("; use ", "; change ", ": change ")), said


@every_case
def test_counts_are_within_the_declared_bounds(masker: Masker, grid: Grid) -> None:
    keys = range(8 if masker.visible is None else 2)  # a count that never varies needs no more
    counts = torch.cat([sample(masker, grid, key).sum(-1) for key in keys])
    assert counts.max() <= masker.most <= grid.patches
    assert counts.double().mean() > 0
    if masker.visible is None:
        assert counts.min() < counts.max(), "a count that never varies could be declared"
    else:
        assert 0 < masker.visible < grid.patches
        assert masker.most == grid.patches - masker.visible
        assert (counts == masker.most).all()


@every_case
def test_masks_are_booleans_for_every_row(masker: Masker, grid: Grid) -> None:
    for rows in (ROWS, ROWS[0], ROWS.reshape(2, 3, 16)):
        hidden = sample(masker, grid, rows=rows)
        assert hidden.dtype == torch.bool
        assert hidden.shape == (*rows.shape, grid.patches)


@every_case
def test_masks_are_a_function_of_key_and_row(masker: Masker, grid: Grid) -> None:
    torch.manual_seed(0)
    hidden = sample(masker, grid)
    torch.manual_seed(1)
    assert torch.equal(sample(masker, grid), hidden), "deterministic under a seed"
    assert not torch.equal(sample(masker, grid, key=4), hidden), "another step, other masks"
    halves = [sample(masker, grid, rows=ROWS[:, part]) for part in (slice(0, 17), slice(17, 48))]
    assert torch.equal(torch.cat(halves, 1), hidden), "a batch that is cut in two"
    order = torch.randperm(48)
    assert torch.equal(sample(masker, grid, rows=ROWS[:, order]), hidden[:, order])


@every_case
def test_images_have_masks_of_their_own(masker: Masker, grid: Grid) -> None:
    hidden = sample(masker, grid).flatten(0, 1)
    masked = hidden[hidden.any(-1)]
    assert len(masked) >= 10
    assert len(masked.unique(dim=0)) > min(15, 0.7 * len(masked)), "as far as a narrow grid has so many masks"


@every_case
def test_no_patch_is_hidden_twice(masker: Masker, grid: Grid) -> None:
    mask = make_mask(masker, Draw(3, ROWS), scene(masker, grid, ROWS))
    real = mask.flat[mask.per_image > 0]
    assert len(real.unique()) == len(real) == int(mask.hidden.sum())
    assert mask.flat.shape == (ROWS.numel() * masker.most,)


@pytest.mark.parametrize("kind", KINDS)
def test_sampling_waits_for_no_number(kind: str) -> None:
    """Fake tensors have no values: whoever asked for one, by `.item()` or `if`, would raise."""
    grid = Grid(14, 14, 16)
    masker = KINDS[kind].example().build(*on(grid)).at(0)
    seen = scene(masker, grid, torch.arange(6).reshape(2, 3))
    with FakeTensorMode(allow_non_fake_inputs=True):
        hidden = masker.sample(Draw(3, torch.arange(6).reshape(2, 3)), seen)
    assert hidden.shape == (2, 3, 196)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_case
def test_a_gpu_draws_the_masks_of_the_cpu(masker: Masker, grid: Grid) -> None:
    rows = torch.arange(96)
    masker = copy.deepcopy(masker)
    there = rows.cuda()
    seen = scene(masker, grid, there)
    torch.cuda.set_sync_debug_mode("error")
    try:
        hidden = masker.cuda().sample(Draw(3, there), seen)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(hidden.cpu(), sample(masker.cpu(), grid, rows=rows))
