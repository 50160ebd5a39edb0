"""Data that a known law makes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

E, A, ALPHA, B, BETA = 0.4, 12.0, 0.32, 20.0, 0.27


def noisy(y: Array, noise: float, seed: int) -> Array:
    """`y` with normal noise of relative size `noise`."""
    return np.asarray(y * np.exp(noise * np.random.default_rng(seed).standard_normal(y.shape)))


def single(
    points: int = 10, noise: float = 0.0, seed: int = 0, offset: float = E, alpha: float = ALPHA
) -> tuple[Array, Array]:
    """Parameters over two and a half decades, and a loss."""
    x = np.geomspace(1e5, 3e7, points)
    return x, noisy(offset + A * x**-alpha, noise, seed)


def grid(
    sizes: int = 4, images: int = 4, noise: float = 0.0, seed: int = 0, offset: float = E
) -> tuple[Array, Array, Array]:
    """A grid of parameters and images over two and a half decades each, and a loss."""
    n, d = (
        each.ravel() for each in np.meshgrid(np.geomspace(1e5, 3e7, sizes), np.geomspace(2e5, 6e7, images))
    )
    return n, d, noisy(offset + A * n**-ALPHA + B * d**-BETA, noise, seed)
