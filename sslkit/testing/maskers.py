"""Promises of maskers."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from sslkit.core.draw import Draw
from sslkit.core.env import Grid
from sslkit.core.masker import Masker, make_mask
from sslkit.spec.families import MaskerSpec
from sslkit.testing.report import Checks, require
from sslkit.testing.scene import VIEW, env_of, scene_of
from sslkit.train import rng

GRID = Grid(14, 14, 16)
"""Patches of a ViT-B/16 at 224 pixels."""
ROWS = torch.arange(64).reshape(2, 32)
"""`[V, B]`: two crops of 32 images."""


def checks(spec: MaskerSpec) -> Checks:
    """The checks of a masker's draws."""
    return {
        "hides the promised counts": partial(_counts, spec),
        "equal draws give equal masks": partial(_repeats, spec),
        "images have masks of their own": partial(_differ, spec),
        "a mask depends on its own row only": partial(_independent, spec),
        "makes masks of fixed shapes": partial(_shapes, spec),
    }


def _build(spec: MaskerSpec) -> Masker:
    """The masker at the beginning of a run."""
    return spec.build(env_of(GRID), VIEW).at(0.0)


def _draw(rows: Tensor = ROWS) -> Draw:
    return rng.draw(0, "mask", rows=rows)


def _sample(masker: Masker, rows: Tensor = ROWS) -> Tensor:
    hidden = masker.sample(_draw(rows), scene_of(masker, GRID, rows))
    expected = (*rows.shape, GRID.patches)
    require(
        hidden.dtype == torch.bool and hidden.shape == expected,
        f"`sample` gives {hidden.dtype} {tuple(hidden.shape)}, expected bool {expected}",
    )
    return hidden


def _counts(spec: MaskerSpec) -> None:
    masker = _build(spec)
    count = _sample(masker).sum(-1)
    low, high = int(count.min()), int(count.max())
    require(
        high <= masker.most <= GRID.patches,
        f"hides {high} patches of {GRID.patches}, but `most` says {masker.most}",
    )
    require(low > 0, "hides nothing in some image, so that nothing could be predicted there")
    if masker.visible is not None:
        hidden = GRID.patches - masker.visible
        require(
            low == high == hidden,
            f"hides {low} to {high} patches, but `visible` {masker.visible} says {hidden}",
        )
        require(masker.most == hidden, f"`most` is {masker.most}, but with a fixed count it must be {hidden}")


def _repeats(spec: MaskerSpec) -> None:
    masks = []
    for seed in (1, 2):  # of torch's generator, which a masker must not read
        masker = _build(spec)
        torch.manual_seed(seed)
        masks += [_sample(masker), _sample(masker)]
    same = all(torch.equal(masks[0], mask) for mask in masks[1:])
    require(same, "equal draws give different masks; take all randomness from `draw`, and keep no state")


def _differ(spec: MaskerSpec) -> None:
    hidden = _sample(_build(spec)).flatten(0, 1)
    require(bool((hidden != hidden[:1]).any()), "every image gets the same mask; draw one for each row")


def _independent(spec: MaskerSpec) -> None:
    masker = _build(spec)
    same = torch.equal(_sample(masker)[:, 3:7], _sample(masker, ROWS[:, 3:7]))
    require(same, "a row's mask depends on the other rows, so micro-batches and ranks would change it")


def _shapes(spec: MaskerSpec) -> None:
    masker = _build(spec)
    mask = make_mask(masker, _draw(), scene_of(masker, GRID, ROWS))
    require(
        mask.flat.shape == (ROWS.numel() * masker.most,),
        f"{tuple(mask.flat.shape)} hidden patches in the mask",
    )
    again = torch.zeros_like(mask.hidden).flatten().index_fill(0, mask.flat[mask.per_image > 0], True)
    require(
        torch.equal(again.view_as(mask.hidden), mask.hidden),
        "the flat indices do not name the hidden patches",
    )
