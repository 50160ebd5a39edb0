"""Synthetic scenes for maskers: images and net outputs that depend on their row only."""

from __future__ import annotations

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
    view = View(grid.rows * grid.patch, 1, CHANNELS, (0.5,) * CHANNELS, (0.25,) * CHANNELS)
    info = NetInfo(DIM, DEPTH, {VIEW: grid})
    return Env({VIEW: view}, {"student": info, "teacher": info}, {VIEW: grid})


def scene_of(masker: Masker, grid: Grid, rows: Tensor) -> Scene:
    """Blotchy images of `rows`, some parts of them flat, and random answers to the masker's passes."""
    cell = CELL if grid.patch % CELL == 0 else 1
    draw = seeds.draw(0, "scene", rows=rows)
    blotches = draw.uniform(CHANNELS, grid.rows * cell, grid.cols * cell) * 4 - 2
    flat = draw.chance(0.5, 1, grid.rows, grid.cols)
    flat = flat.repeat_interleave(cell, -2).repeat_interleave(cell, -1)
    side = grid.patch // cell
    image = torch.where(flat, 0.0, blotches).repeat_interleave(side, -2).repeat_interleave(side, -1)
    return Scene(image, tuple(_answer(request, grid, rows, image) for request in masker.passes))


def _answer(request: Encode, grid: Grid, rows: Tensor, image: Tensor) -> Tokens:
    draw = seeds.draw(0, "answer", request.net, rows=rows)
    patch = draw.uniform(grid.patches, DIM) - 0.5
    layers = tuple(draw.uniform(1 + grid.patches, DIM) - 0.5 for _ in request.layers)
    attention = draw.uniform(HEADS, grid.patches).softmax(-1) if request.attention else None
    return Tokens(image, patch.mean(-2), patch, None, layers, attention)
