"""Means of resamples."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sslkit.statistics import bootstrap_means
from sslkit.statistics.bootstrap_means import FEW, resampled_means

MANY = np.random.default_rng(0).normal(size=300)
THIRDS = np.array([0, 1, 1, 3, 2, 2, 2, 0]) / 3


@pytest.mark.parametrize("values", [MANY, THIRDS], ids=["by index", "by counts"])
def test_they_scatter_about_the_mean_as_theory_says(values):
    means = resampled_means(values, len(values), 20_000, 1)
    assert means.shape == (20_000,)
    error = values.std() / len(values) ** 0.5
    assert means.mean() == pytest.approx(values.mean(), abs=4 * error / 20_000**0.5)
    assert means.std() == pytest.approx(error, rel=0.03)


def test_counts_and_indices_follow_one_distribution(monkeypatch):
    by_counts = resampled_means(THIRDS, 8, 5000, 1)
    monkeypatch.setattr(bootstrap_means, "FEW", 0)
    by_index = resampled_means(THIRDS, 8, 5000, 2)
    assert stats.ks_2samp(by_counts.round(9), by_index.round(9)).pvalue > 0.01


@pytest.mark.parametrize("values", [MANY, THIRDS, MANY[:FEW], MANY[: FEW + 1]])
def test_negation_negates(values):
    assert np.array_equal(resampled_means(-values, 50, 100, 7), -resampled_means(values, 50, 100, 7))


def test_pieces_are_whole(monkeypatch):
    monkeypatch.setattr(bootstrap_means, "CELLS", 1000)
    assert resampled_means(MANY, 300, 10, 0).shape == (10,)
    monkeypatch.setattr(bootstrap_means, "CELLS", 10)
    assert resampled_means(MANY, 300, 4, 0).shape == (4,)


def test_the_size_may_differ_from_the_number_of_values():
    means = resampled_means(THIRDS, 2, 2000, 0)
    assert set((means * 6).round().astype(int)) <= set(range(7)), "halves of sums of two thirds"
    assert means.std() == pytest.approx(THIRDS.std() / 2**0.5, rel=0.06)
