"""Means of bootstrap resamples."""

from __future__ import annotations

import numpy as np

from sslkit.statistics.input_checks import Floats

RESAMPLES = 10_000
"""Resamples of a bootstrap: its 2.5 % quantile is then known to about 3 % of a standard error."""
FEW = 64
"""Up to so many distinct values a resample is drawn as their counts."""
CELLS = 2**20
"""Values that are drawn at once: 4 MiB of indices, which a cache holds."""


def resampled_means(values: Floats, size: int, resamples: int, seed: int) -> Floats:
    """`[resamples]` means of `size` values drawn from `values` with replacement.

    Counts of distinct values follow a multinomial, so that a million 0/1 values cost no more than two. Values
    are ordered by their first appearance, which negation does not change: `-values` give exactly `-means`.
    """
    generator = np.random.default_rng(seed)
    _, first, counts = np.unique(values, return_index=True, return_counts=True)
    order = np.argsort(first)
    if len(first) > FEW:
        return _by_index(values, size, resamples, generator)
    drawn = generator.multinomial(size, counts[order] / len(values), size=resamples)
    means: Floats = drawn @ values[first[order]] / size
    return means


def _by_index(values: Floats, size: int, resamples: int, generator: np.random.Generator) -> Floats:
    """As `scipy.stats.bootstrap` draws, a few resamples at a time."""
    at_once = max(1, CELLS // size)
    sizes = [min(at_once, resamples - start) for start in range(0, resamples, at_once)]
    return np.concatenate(
        [values[generator.integers(0, len(values), (n, size), np.int32)].mean(1) for n in sizes]
    )
