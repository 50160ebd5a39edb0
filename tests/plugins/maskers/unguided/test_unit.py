"""SimMIM's units."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from scipy import stats

from sslkit import UnitMasker
from sslkit.core.random_stream import Draw
from sslkit.core.view import Grid
from sslkit.errors import SpecError
from sslkit_maskers.unguided.unit import spread
from tests.masks import UNSEEN, on

Golden = Callable[[str], dict[str, Any]]


def test_counts_are_those_of_simmim(golden: Golden) -> None:
    for row in golden("simmim_mask_stats")["rows"].tolist():
        size, unit, patch = map(int, row[:3])
        side = size // patch
        masker = UnitMasker(ratio=row[3], unit=unit).build(*on(Grid(side, side, patch)))
        counts = masker.sample(Draw(0, torch.arange(50)), UNSEEN).sum(-1)
        assert (masker.most, int(counts.min()), int(counts.max())) == (row[9], row[8], row[9])
        assert side == row[10]
        assert masker.most / side**2 == pytest.approx(row[11])


@pytest.mark.parametrize(("name", "unit", "patch"), [("192_32_16", 32, 16), ("32_8_4", 8, 4)])
def test_units_cover_the_patches_as_in_simmim(golden: Golden, name: str, unit: int, patch: int) -> None:
    masks, scale = golden("simmim_mask_stats")[f"masks_{name}_seed0"].bool(), unit // patch
    assert torch.equal(spread(masks[:, ::scale, ::scale], scale), masks.flatten(1))


@pytest.mark.parametrize(
    ("side", "ratio", "hidden"), [(10, 0.55, 55), (5, 0.6, 15), (7, 0.6, 30), (10, 0.14, 14)]
)
def test_the_hidden_count_is_the_ceiling_without_float_errors(side: int, ratio: float, hidden: int) -> None:
    """SimMIM's own float product is one too high for the first and the last: ceil(100 * 0.55) is 56."""
    masker = UnitMasker(ratio=ratio, unit=16).build(*on(Grid(side, side, 16)))
    assert masker.most == hidden == math.ceil(side**2 * Fraction(str(ratio)))
    assert (math.ceil(side**2 * ratio) > hidden) == (side == 10)


def test_whole_units_are_hidden() -> None:
    hidden = UnitMasker(unit=12).build(*on(Grid(9, 6, 4))).sample(Draw(3, torch.arange(40)), UNSEEN)
    units = hidden.view(40, 3, 3, 2, 3).transpose(2, 3).flatten(3)
    assert (units.all(-1) == units.any(-1)).all()
    assert (units.any(-1).sum((1, 2)) == 4).all()


def test_every_unit_is_hidden_equally_often() -> None:
    hidden = UnitMasker(ratio=0.5).build(*on(Grid(8, 12, 8))).sample(Draw(3, torch.arange(6000)), UNSEEN)
    counts = hidden.view(-1, 8, 12)[:, ::4, ::4].sum(0).flatten()
    assert counts.sum() == 6000 * 3
    assert stats.chisquare(counts.numpy()).pvalue > 1e-4


@pytest.mark.parametrize(
    ("fields", "grid", "text"),
    [
        ({}, Grid(14, 14, 12), "unit 32 is no multiple of the patch, 12 pixels; use a multiple, such as 36$"),
        ({"unit": 8}, Grid(14, 14, 16), "unit 8 is no multiple of the patch, 16 pixels; use a multiple, such as 16$"),
        ({}, Grid(7, 7, 16), "unit 32 does not divide the image of 112 x 112 pixels; change the unit or"),
        ({}, Grid(8, 8, 4), r"ratio 0.6 of 1 units hides 64 of 64 patches \(8 x 8\); at least one must stay"),
        ({"ratio": 0.95}, Grid(8, 8, 16), r"ratio 0.95 of 16 units hides 64 of 64 patches"),
    ],
)  # fmt: skip
def test_units_that_do_not_fit_are_a_spec_error(fields: Any, grid: Grid, text: str) -> None:
    with pytest.raises(SpecError, match=f"^{text}"):
        UnitMasker(**fields).build(*on(grid))
