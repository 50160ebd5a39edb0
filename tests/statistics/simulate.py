"""Made experiments of known truth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

TIMES = 500
"""Experiments of a simulation: a share of 5 % is then known to about one point."""


class TwoRuns(NamedTuple):
    """How two runs fare on the same images."""

    images: int
    disagreement: float
    """Share of the images that only one of them has right."""
    lead: float = 0.0
    """By how much the first is better in truth."""
    both_right: float = 0.7

    def draw(self, generator: np.random.Generator) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which of the images each run has right."""
        first, second = (self.disagreement + self.lead) / 2, (self.disagreement - self.lead) / 2
        rest = 1 - first - second - self.both_right
        kind = generator.choice(4, self.images, p=[first, second, self.both_right, rest])
        return (kind == 0) | (kind == 2), (kind == 1) | (kind == 2)


def pairs(world: TwoRuns, seed: int) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """`TIMES` experiments."""
    generator = np.random.default_rng(seed)
    for _ in range(TIMES):
        yield world.draw(generator)


def normal_groups(sizes: tuple[int, int], spreads: tuple[float, float], seed: int) -> Iterator[tuple]:
    """`TIMES` pairs of groups of seeds with one true mean, 0.8."""
    generator = np.random.default_rng(seed)
    for _ in range(TIMES):
        yield tuple(generator.normal(0.8, spread, size) for size, spread in zip(sizes, spreads, strict=True))
