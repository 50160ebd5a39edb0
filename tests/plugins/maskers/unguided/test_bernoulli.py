"""Independent patches."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from sslkit import BernoulliMasker
from sslkit.core.random_stream import Draw
from sslkit.core.view import Grid
from sslkit.errors import SpecError
from tests.masks import UNSEEN, on


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.75])
def test_counts_are_binomial(ratio: float) -> None:
    hidden = (
        BernoulliMasker(ratio=ratio).build(*on(Grid(4, 5, 8))).sample(Draw(0, torch.arange(4000)), UNSEEN)
    )
    counts = torch.bincount(hidden.sum(-1), minlength=21).double().numpy()
    expected = 4000 * stats.binom.pmf(range(21), 20, ratio)
    kept = expected > 5
    observed = [*counts[kept], counts[~kept].sum()]
    assert stats.chisquare(observed, [*expected[kept], expected[~kept].sum()]).pvalue > 1e-4


def test_patches_are_independent_and_alike() -> None:
    hidden = BernoulliMasker(ratio=0.5).build(*on(Grid(3, 3, 8))).sample(Draw(2, torch.arange(6000)), UNSEEN)
    assert stats.chisquare(hidden.sum(0).numpy()).pvalue > 1e-4
    pairs = torch.corrcoef(hidden.T.double()) - torch.eye(9)
    assert float(pairs.abs().max()) < 4 / 6000**0.5


def test_any_count_is_possible() -> None:
    masker = BernoulliMasker(ratio=0.5).build(*on(Grid(1, 3, 8)))
    counts = masker.sample(Draw(1, torch.arange(400)), UNSEEN).sum(-1)
    assert set(counts.tolist()) == {0, 1, 2, 3}
    assert (masker.visible, masker.most) == (None, 3)


@pytest.mark.parametrize("ratio", [0, 1, -0.1, 1.5])
def test_a_certain_outcome_is_no_ratio(ratio: float) -> None:
    with pytest.raises(SpecError, match="ratio: must be"):
        BernoulliMasker(ratio=ratio)
