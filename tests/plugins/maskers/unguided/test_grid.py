"""One visible patch in every cell."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sslkit import GridMasker
from sslkit.core.random_stream import Draw
from sslkit.core.view import Grid
from sslkit.errors import SpecError
from tests.masks import UNSEEN, on


@settings(max_examples=50)
@given(st.integers(1, 11), st.integers(2, 11), st.integers(2, 6), st.booleans())
def test_every_cell_keeps_one_patch(rows: int, cols: int, cell: int, jitter: bool) -> None:
    masker = GridMasker(cell=cell, jitter=jitter).build(*on(Grid(rows, cols, 4)))
    shown = ~masker.sample(Draw(4, torch.arange(12)), UNSEEN).view(12, rows, cols)
    for top in range(0, rows, cell):
        for left in range(0, cols, cell):
            assert (shown[:, top : top + cell, left : left + cell].sum((-2, -1)) == 1).all()
    assert masker.visible == int(shown[0].sum())


def test_without_jitter_the_first_patch_of_every_cell_stays() -> None:
    hidden = GridMasker(jitter=False).build(*on(Grid(5, 4, 8))).sample(Draw(0, torch.arange(3)), UNSEEN)
    expected = torch.ones(5, 4, dtype=torch.bool)
    expected[::2, ::2] = False
    assert torch.equal(hidden, expected.flatten().expand(3, -1))


def test_jitter_reaches_every_patch_of_a_cell_equally_often_and_independently() -> None:
    hidden = GridMasker(cell=3).build(*on(Grid(6, 6, 8))).sample(Draw(1, torch.arange(6000)), UNSEEN)
    cells = (~hidden).view(-1, 2, 3, 2, 3).transpose(2, 3).reshape(-1, 4, 9).long().argmax(-1)
    for index in range(4):
        assert stats.chisquare(torch.bincount(cells[:, index], minlength=9).numpy()).pvalue > 1e-4
    pair = torch.bincount(cells[:, 0] * 9 + cells[:, 3], minlength=81).view(9, 9)
    assert stats.chi2_contingency(pair.numpy()).pvalue > 1e-4


def test_cut_cells_at_the_edges_are_reached_whole() -> None:
    shown = ~GridMasker(cell=4).build(*on(Grid(5, 6, 8))).sample(Draw(0, torch.arange(3000)), UNSEEN).view(
        -1, 5, 6
    )
    corner = shown[:, 4, 4:].sum(0)
    assert corner.sum() == 3000
    assert stats.chisquare(corner.numpy()).pvalue > 1e-4


def test_counts_are_those_of_the_papers() -> None:
    masker = GridMasker().build(*on(Grid(14, 14, 16)))
    assert (masker.visible, masker.most) == (49, 147), "MAE and UM-MAE keep a quarter"


def test_a_grid_of_one_patch_is_a_spec_error() -> None:
    with pytest.raises(SpecError, match=r"^cell 2 hides 0 of 1 patches \(1 x 1\)"):
        GridMasker().build(*on(Grid(1, 1, 8)))
    with pytest.raises(SpecError, match="cell"):
        GridMasker(cell=1)
