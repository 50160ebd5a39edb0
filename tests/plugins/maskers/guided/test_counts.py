"""Properties of guided maskers over grids, ratios and shares: counts, what guides, what is left to chance."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sslkit import (
    AttentionMasker,
    ComplexityMasker,
    CurriculumMasker,
    DifficultyMasker,
    InformationMasker,
    SemanticMasker,
)
from sslkit.core.masker import Masker, Scene, make_mask
from sslkit.core.random_stream import Draw
from sslkit.core.view import Grid
from sslkit.errors import SpecError
from sslkit.specs.families import MaskerSpec
from sslkit.testing.fake_scene import scene_of
from sslkit_maskers.guided.ranking import hide_highest, ranks
from sslkit_maskers.patch_shares import share_of
from tests.masks import on

GRIDS = st.builds(Grid, st.integers(1, 7), st.integers(1, 7), st.sampled_from([2, 3, 4]))
RATIOS = st.integers(1, 99).map(lambda percent: percent / 100)
SHARES = st.integers(0, 20).map(lambda part: part / 20)
ROWS = torch.arange(6).reshape(2, 3)
FEW = settings(max_examples=60)


def kinds(ratio: float, share: float) -> list[MaskerSpec]:
    """Every guided masker."""
    return [
        AttentionMasker(ratio=ratio, share=share),
        AttentionMasker(ratio=ratio, share=share, variant="hint", hints=0.2),
        SemanticMasker(ratio=ratio, share=share, clusters=2, iterations=1),
        DifficultyMasker(ratio=ratio, share=share),
        ComplexityMasker(ratio=ratio, share=share, measure="entropy"),
        InformationMasker(ratio=ratio),
    ]


def built(spec: MaskerSpec, grid: Grid) -> Masker | None:
    try:
        return spec.build(*on(grid))
    except SpecError:
        return None


@FEW
@given(GRIDS, RATIOS, SHARES, st.integers(0, 5))
def test_every_image_hides_exactly_what_the_ratio_leaves(
    grid: Grid, ratio: float, share: float, which: int
) -> None:
    """As `random` does: floor(N (1 - ratio)) patches stay, in the arithmetic of people and not of floats."""
    masker = built(kinds(ratio, share)[which], grid)
    visible = floor(grid.patches * (1 - Fraction(repr(ratio))))
    if not 0 < visible < grid.patches:
        assert masker is None, "all or nothing hidden is refused"
        return
    assume(masker is not None)  # more clusters than patches, hints that do not fit
    assert (masker.visible, masker.most) == (visible, grid.patches - visible)
    mask = make_mask(masker, Draw(1, ROWS), scene_of(masker, grid, ROWS))
    assert (mask.hidden.sum(-1) == masker.most).all()
    assert mask.keep.shape == (2, 3, visible)
    assert not mask.hidden.gather(-1, mask.keep).any(), "what is kept is not hidden"
    assert mask.pick(mask.hidden).all()


@FEW
@given(
    st.integers(1, 30), st.integers(0, 30), st.integers(0, 30), st.integers(0, 3), st.integers(0, 2**31 - 1)
)
def test_the_guided_part_is_the_top_and_the_rest_is_not_shown(
    patches: int, most: int, guided: int, levels: int, key: int
) -> None:
    """For scores with ties as well: nothing of a lower score is taken for one of a higher."""
    most = min(most, patches)
    guided = min(guided, most)
    scores = Draw(key, ROWS).integers(levels + 1, patches).float()
    shown = ranks(Draw(key + 1, ROWS).uniform(patches), Draw(key + 2, ROWS).uniform(patches)) < patches - most
    for spared in (None, shown):
        hidden = hide_highest(Draw(key, ROWS), scores, guided, most, spared)
        assert (hidden.sum(-1) == most).all()
        open_ = scores if spared is None else scores.masked_fill(spared, -1)
        assert spared is None or not (hidden & spared).any()
        bar = open_.sort(-1, descending=True).values[..., max(guided, 1) - 1]
        above = open_ > bar[..., None]
        assert guided == 0 or (hidden | ~above).all(), "all above the last guided score are hidden"


@FEW
@given(st.integers(1, 5000), st.integers(0, 100), st.integers(0, 100))
def test_shares_are_floors_of_exact_products(count: int, one: int, two: int) -> None:
    assert share_of(count, one / 100, two / 100) == count * one * two // 10_000
    assert share_of(count, one / 100) == count * one // 100


def test_a_hint_is_never_hidden_and_always_one_of_the_most_attended() -> None:
    grid = Grid(5, 5, 4)
    masker = AttentionMasker(ratio=0.6, variant="hint", hints=0.2).build(*on(grid))
    rows = torch.arange(64)[None]
    seen = scene_of(masker, grid, rows)
    attention = seen.tokens[0].attention.mean(-2)
    pool = attention.argsort(-1, descending=True)[..., :5]
    counts = [(~masker.sample(Draw(key, rows), seen)).gather(-1, pool).sum(-1) for key in range(4)]
    assert (torch.stack(counts) == 3).all(), (
        "floor(25 · 0.6 · 0.2) of the 5 stay visible, the other 2 are hidden"
    )


@FEW
@given(
    GRIDS.filter(lambda grid: grid.patches > 3),
    st.tuples(RATIOS, RATIOS),
    st.integers(2, 9),
    st.sampled_from(["linear", "cosine"]),
    st.integers(1, 20).map(lambda part: part / 20),
)
def test_levels_of_a_curriculum_go_from_start_to_end(
    grid: Grid, ends: tuple[float, float], levels: int, shape: str, until: float
) -> None:
    """Bounded in number, each in force once and in order, whole at `until`, and never between two levels."""
    spec = CurriculumMasker(
        masker=ComplexityMasker(), field="ratio", start=ends[0], end=ends[1], levels=levels, shape=shape,
        until=until,
    )  # fmt: skip
    masker = built(spec, grid)
    assume(masker is not None)
    stages = masker.stages()
    assert len(stages) == (1 if ends[0] == ends[1] else levels)
    passed = [stages.index(masker.at(step / 200)) for step in range(200)]
    assert passed[0] == 0
    assert passed == sorted(passed)
    assert masker.at(until) is stages[-1]
    assert all(stage is stages[-1] for stage in map(masker.at, (until, (1 + until) / 2, 0.999)) if until < 1)
    hidden = [stage.most for stage in stages]
    assert hidden == sorted(hidden, reverse=ends[0] > ends[1])
    bounds = [grid.patches - floor(grid.patches * (1 - Fraction(repr(end)))) for end in ends]
    assert (hidden[0], hidden[-1]) == tuple(bounds)
    assert {stage.visible + stage.most for stage in stages} == {grid.patches}


def test_only_pictures_decide_where_all_is_guided() -> None:
    """Another step, another mask, only as far as a masker says that it is random; an image stays the same image."""
    grid = Grid(6, 6, 4)
    rows = torch.arange(8)[None]
    for spec in (AttentionMasker(ratio=0.5), ComplexityMasker(ratio=0.5, share=1.0)):
        masker = spec.build(*on(grid))
        seen = scene_of(masker, grid, rows)
        if isinstance(spec, ComplexityMasker):
            noise = torch.randn(seen.image.shape, generator=torch.Generator().manual_seed(0))
            seen = Scene(seen.image + 0.1 * noise)
        first, second = (masker.sample(Draw(key, rows), seen) for key in (1, 2))
        assert torch.equal(first, second)
        assert len(first[0].unique(dim=0)) == 8
