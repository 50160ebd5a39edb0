"""Synthetic scenes for maskers: images and net outputs that depend on their row only."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sslkit.core.context import Env, NetInfo
from sslkit.core.masker import Masker, Scene
from sslkit.core.passes import Encode, Tokens
from sslkit.core.view import Grid, View
from sslkit.runtime import seeds

VIEW = "global"
CHANNELS, DIM, DEPTH, HEADS = 3, 8, 2, 2
CELL = 2
"""Blotches of an image along the side of a patch, or one where the patch is odd."""


def env_of(grid: Grid) -> Env:
    """An environment of one view, cut into the patches of `grid`, with a student and a teacher."""
    sides = tuple(count * side for count, side in zip(grid.shape, grid.sides, strict=True))
    view = View(sides, 1, CHANNELS, (0.5,) * CHANNELS, (0.25,) * CHANNELS)
    info = NetInfo(DIM, DEPTH, {VIEW: grid})
    return Env({VIEW: view}, {"student": info, "teacher": info}, {VIEW: grid})


def scene_of(masker: Masker, grid: Grid, rows: Tensor) -> Scene:
    """Blotchy images of `rows`, some parts of them flat, and random answers to the masker's passes."""
    cells = [CELL if side % CELL == 0 else 1 for side in grid.sides]
    draw = seeds.draw(0, "scene", rows=rows)
    fine = [count * cell for count, cell in zip(grid.shape, cells, strict=True)]
    blotches = draw.uniform(CHANNELS, *fine) * 4 - 2
    flat = _enlarged(draw.chance(0.5, 1, *grid.shape), cells)
    image = _enlarged(
        torch.where(flat, 0.0, blotches), [s // c for s, c in zip(grid.sides, cells, strict=True)]
    )
    return Scene(image, tuple(_answer(request, grid, rows, image) for request in masker.passes))


def _enlarged(values: Tensor, factors: Sequence[int]) -> Tensor:
    """Every value repeated along each of the last axes, by its factor."""
    for axis, factor in zip(range(-len(factors), 0), factors, strict=True):
        values = values.repeat_interleave(factor, axis)
    return values


def _answer(request: Encode, grid: Grid, rows: Tensor, image: Tensor) -> Tokens:
    draw = seeds.draw(0, "answer", request.net, rows=rows)
    patch = draw.uniform(grid.patches, DIM) - 0.5
    layers = tuple(draw.uniform(1 + grid.patches, DIM) - 0.5 for _ in request.layers)
    attention = draw.uniform(HEADS, grid.patches).softmax(-1) if request.attention else None
    return Tokens(image, patch.mean(-2), patch, None, layers, attention)
