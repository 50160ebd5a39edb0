"""Settings over several data sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sslkit.errors import DataError, SpecError
from sslkit.statistics import friedman, nemenyi_difference, win_tie_loss
from tests.statistics.simulate import TIMES

DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.9749],
        [0.957, 0.978, 0.946, 0.970],
    ]
)
"""Demšar 2006, table 6: AUC of C4.5 and three variants on 14 data sets.

The last two of the 13th are printed alike, but ranked 2 and 3: they differ where it was rounded."""
Q = {
    0.95: [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164],
    0.90: [1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920],
}
"""Demšar 2006, table 5 (a): critical values of the Nemenyi test for 2 to 10 settings."""
TABLE = st.integers(2, 5).flatmap(
    lambda k: st.lists(st.lists(st.integers(0, 5), min_size=k, max_size=k), min_size=2, max_size=6)
)


def test_the_example_of_demsar():
    """Demšar 2006, section 3.2.3: ranks 3.143, 2.000, 2.893, 1.964; chi-squared 9.28; difference 1.25 at 5 %."""
    ranking = friedman(DEMSAR)
    assert ranking.ranks == pytest.approx((3.143, 2.000, 2.893, 1.964), abs=5e-4)
    assert ranking.critical_difference == pytest.approx(1.25, abs=5e-3)
    plain = 12 * 14 / (4 * 5) * (np.square(ranking.ranks).sum() - 4 * 25 / 4)
    assert plain == pytest.approx(9.28, abs=5e-3), "without the correction for ties, as in the paper"
    assert ranking.statistic >= plain
    assert friedman(DEMSAR, 0.90).critical_difference == pytest.approx(1.12, abs=5e-3)


@pytest.mark.parametrize("level", Q)
def test_critical_differences_are_those_of_the_table(level):
    for settings, q in enumerate(Q[level], start=2):
        for datasets in (5, 30):
            expected = q * (settings * (settings + 1) / (6 * datasets)) ** 0.5
            assert nemenyi_difference(settings, datasets, level) == pytest.approx(expected, rel=5e-4)


def test_friedman_is_scipy_s():
    ranking, expected = friedman(DEMSAR), stats.friedmanchisquare(*DEMSAR.T)
    assert (ranking.statistic, ranking.p) == (expected.statistic, expected.pvalue)


def test_friedman_keeps_its_level():
    generator = np.random.default_rng(0)
    p = [friedman(generator.normal(size=(20, 4))).p for _ in range(TIMES)]
    assert 0.03 <= np.mean(np.array(p) <= 0.05) <= 0.07


def test_a_setting_that_always_wins_ranks_first():
    scores = np.random.default_rng(0).random((8, 3)) + np.array([0, 0, 1])
    ranking = friedman(scores)
    assert ranking.ranks[2] == 1
    assert sum(ranking.ranks) == pytest.approx(6)
    assert ranking.p < 0.05


def test_equal_scores_share_their_ranks_and_nothing_differs():
    ranking = friedman(np.full((4, 3), 0.5))
    assert ranking.ranks == (2, 2, 2)
    assert (ranking.statistic, ranking.p) == (0, 1)


def test_wins_ties_and_losses_by_hand():
    counts = win_tie_loss(DEMSAR[:3, :2])
    assert counts[0, 1].tolist() == [1, 0, 2]
    assert counts[1, 0].tolist() == [2, 0, 1]
    assert counts[0, 0].tolist() == [0, 3, 0]
    ties = np.zeros((3, 2, 2), bool)
    ties[0] = True
    assert win_tie_loss(DEMSAR[:3, :2], ties)[0, 1].tolist() == [1, 1, 1]


@given(TABLE)
def test_wins_are_the_other_s_losses(table):
    counts = win_tie_loss(table)
    assert (counts == counts.transpose(1, 0, 2)[:, :, ::-1]).all()
    assert (counts.sum(-1) == len(table)).all()


@given(TABLE.filter(lambda table: len(table[0]) > 2))
def test_ranks_share_what_there_is(table):
    ranking, settings = friedman(table), len(table[0])
    assert sum(ranking.ranks) == pytest.approx(settings * (settings + 1) / 2)
    assert 0 <= ranking.p <= 1
    backwards = friedman(np.array(table)[:, ::-1])
    assert backwards.ranks == pytest.approx(ranking.ranks[::-1])
    assert backwards.p == pytest.approx(ranking.p)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([[1, 2, 3]], "needs two data sets and three settings at least, got 1 and 3"),
        ([[1, 2], [2, 1]], "got 2 and 2; two settings are compared by win, tie and loss"),
        ([1, 2, 3], "must be a table of finite values"),
        ([[1, 2, np.nan], [1, 2, 3]], "must be a table of finite values"),
        (np.zeros((0, 3)), "must be a table of finite values"),
    ],
)
def test_what_cannot_be_ranked_is_refused(scores, message):
    with pytest.raises(DataError) as caught:
        friedman(scores)
    assert message in str(caught.value)


def test_what_makes_no_critical_difference_is_refused():
    with pytest.raises(DataError, match="two settings and a data set at least, got 1 and 5"):
        nemenyi_difference(1, 5)
    with pytest.raises(SpecError, match="level"):
        nemenyi_difference(3, 5, 1)
    with pytest.raises(DataError, match=r"`ties` must have the shape \(2, 2, 2\), got \(2,\)"):
        win_tie_loss([[1, 2], [2, 1]], [True, False])
