"""Conformance checks of maskers."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from functools import partial

import torch
from torch import Tensor

from sslkit.core.masker import Masker, Scene, broken_promise, make_mask
from sslkit.core.passes import Mask
from sslkit.core.random_stream import Draw
from sslkit.core.view import Grid
from sslkit.runtime import seeds
from sslkit.specs.families import MaskerSpec
from sslkit.testing.fake_scene import VIEW, env_of, scene_of
from sslkit.testing.kit_report import Checks, Needs, NotOffered, require

COUNTS, SHAPES = "hides the promised counts", "makes masks of fixed shapes"
NEEDS: Needs = {SHAPES: COUNTS}
GRIDS = {1: Grid.of((196,), (16,)), 2: Grid(14, 14, 16), 3: Grid.of((4, 7, 7), (2, 16, 16))}
"""By number of axes, as many patches as a ViT-B/16 has at 224 pixels."""
ROWS = torch.arange(64).reshape(2, 32)
"""`[V, B]`: two crops of 32 images."""
FEW = ROWS[:, :8]
"""Of those from which it learns."""
DRAWS = 80
HABIT = 0.36
"""Six standard deviations of a share of `DRAWS`: no fair masker reaches it with any of 8 x 196 shares."""
STEPS, STOP = 6, 3
"""Steps of the learning that is tried, and the one before which it is resumed."""


def checks(spec: MaskerSpec) -> Checks:
    """The checks of a masker's draws."""
    return {
        COUNTS: partial(_counts, spec),
        "equal draws give equal masks": partial(_repeats, spec),
        "images have masks of their own": partial(_differ, spec),
        "a mask depends on its own row only": partial(_independent, spec),
        "a row has no habits of its own": partial(_unbiased, spec),
        SHAPES: partial(_shapes, spec),
        "its stages are those that it goes through": partial(_stages, spec),
        "learns alike from micro-batches": partial(_observes_rows, spec),
        "keeps what it learned in buffers": partial(_learns_into_buffers, spec),
    }


def _grid(spec: MaskerSpec) -> Grid:
    """Patches of images where the masker serves them, else of as many axes as it serves."""
    return GRIDS[2 if spec.axes is None or 2 in spec.axes else spec.axes[0]]


def _build(spec: MaskerSpec) -> Masker:
    """The masker at the beginning of a run."""
    return spec.build(env_of(_grid(spec)), VIEW).at(0.0)


def _draw(rows: Tensor = ROWS) -> Draw:
    return seeds.draw(0, "mask", rows=rows)


def _sample(masker: Masker, grid: Grid, rows: Tensor = ROWS) -> Tensor:
    hidden = masker.sample(_draw(rows), scene_of(masker, grid, rows))
    expected = (*rows.shape, grid.patches)
    fits = hidden.dtype == torch.bool and hidden.shape == expected
    require(fits, "" if fits else str(broken_promise(masker, hidden, expected)))
    return hidden


def _counts(spec: MaskerSpec) -> None:
    masker, grid = _build(spec), _grid(spec)
    hidden = _sample(masker, grid)
    broken = broken_promise(masker, hidden, (*ROWS.shape, grid.patches))
    require(broken is None, str(broken))
    require(
        bool(hidden.any(-1).all()), "hides nothing in some image, so that nothing could be predicted there"
    )


def _repeats(spec: MaskerSpec) -> None:
    masks = []
    for seed in (1, 2):  # of torch's generator, which a masker must not read
        masker = _build(spec)
        torch.manual_seed(seed)
        masks += [_sample(masker, _grid(spec)), _sample(masker, _grid(spec))]
    same = all(torch.equal(masks[0], mask) for mask in masks[1:])
    require(same, "equal draws give different masks; take all randomness from `draw`, and keep no state")


def _differ(spec: MaskerSpec) -> None:
    hidden = _sample(_build(spec), _grid(spec)).flatten(0, 1)
    require(bool((hidden != hidden[:1]).any()), "every image gets the same mask; draw one for each row")


def _independent(spec: MaskerSpec) -> None:
    """In slices, alone, and in another order: ranks and micro-batches hold rows in many ways."""
    masker, grid = _build(spec), _grid(spec)
    whole = _sample(masker, grid)
    for part in (slice(3, 7), slice(30, 31), torch.tensor([9, 2, 31, 16])):
        same = torch.equal(whole[:, part], _sample(masker, grid, ROWS[:, part]))
        require(
            same,
            "a row's mask depends on the other rows or on its place among them, so micro-batches and ranks would "
            "change it; draw it from `draw` and look at its own image only",
        )


def _unbiased(spec: MaskerSpec) -> None:
    """Over many draws and on one picture, a patch is hidden as often in one row as in another."""
    masker = _build(spec)
    rows = ROWS[:1, :8]
    scene = scene_of(masker, _grid(spec), rows[:, :1].expand(1, 8))
    hidden = torch.stack(
        [masker.sample(seeds.draw(0, "habit", i, rows=rows), scene)[0].float() for i in range(DRAWS)]
    )
    share = hidden.mean(0)
    worst = float((share - share.mean(0)).abs().max())
    require(
        worst < HABIT,
        f"some patch is hidden {worst:.0%} more or less often in one row of the batch than in the others; let a mask "
        "depend on its row by the numbers of `draw` only, never by `draw.rows` or a place in the batch",
    )


def _shapes(spec: MaskerSpec) -> None:
    masker = _build(spec)
    mask = make_mask(masker, _draw(), scene_of(masker, _grid(spec), ROWS))
    require(
        mask.flat.shape == (ROWS.numel() * masker.most,),
        f"{tuple(mask.flat.shape)} hidden patches in the mask",
    )
    again = torch.zeros_like(mask.hidden).flatten().index_fill(0, mask.flat[mask.per_image > 0], True)
    require(
        torch.equal(again.view_as(mask.hidden), mask.hidden),
        "the flat indices do not name the hidden patches",
    )


def _stages(spec: MaskerSpec) -> None:
    masker = spec.build(env_of(_grid(spec)), VIEW)
    stages = masker.stages()
    for step in range(20):
        stage = masker.at(step / 20)
        require(
            any(stage is one for one in stages),
            f"`at({step / 20})` gives a masker that is not among `stages()`; a graph is made for each of those",
        )
    labels = [stage.label for stage in stages]
    require(
        len(set(labels)) == len(labels), f"stages share a `label`: {labels}; it tells them apart in records"
    )


def _learner(spec: MaskerSpec) -> Masker:
    """The masker of a whole run. Raises NotOffered where it neither learns nor changes."""
    masker = spec.build(env_of(_grid(spec)), VIEW)
    if not any(_overrides(masker, name) for name in ("at", "observe", "commit")):
        raise NotOffered("learns nothing")
    return masker


def _overrides(masker: Masker, name: str) -> bool:
    return getattr(type(masker), name) is not getattr(Masker, name)


def _observed(masker: Masker, grid: Grid, rows: Tensor, step: int) -> Mapping[str, Tensor]:
    """What `masker` sees of a step's `rows`, in the way of the trainer."""
    stage = masker.at(step / STEPS)
    scene = scene_of(stage, grid, rows)
    mask = make_mask(stage, seeds.draw(0, step, "mask", rows=rows), scene)
    return stage.observe(scene, mask, _scores(mask, scene, rows))


def _scores(mask: Mask, scene: Scene, rows: Tensor) -> Tensor:
    """Synthetic losses `[L]`, each a function of its image and patch."""
    values = seeds.draw(0, "scores", rows=rows).uniform(mask.hidden.shape[-1])
    return torch.where(mask.per_image > 0, values.flatten()[mask.flat], 0.0)


@torch.no_grad()
def _observes_rows(spec: MaskerSpec) -> None:
    """Rows of two halves, joined, are those of the whole batch."""
    masker = _learner(spec)
    whole = _observed(masker, _grid(spec), FEW, 0)
    half = FEW.shape[1] // 2
    halves = [_observed(masker, _grid(spec), FEW[:, part], 0) for part in (slice(half), slice(half, None))]
    require(
        all(part.keys() == whole.keys() for part in halves), "`observe` gives other names for half of a batch"
    )
    spare = spec.build(env_of(_grid(spec)), VIEW)
    if whole:
        masker.commit(whole)
        spare.commit({key: torch.cat([part[key] for part in halves]) for key in whole})
    names = [
        name
        for name, value in masker.state_dict().items()
        if not torch.allclose(value.double(), spare.state_dict()[name].double(), rtol=1e-3, atol=1e-5)
    ]
    require(
        not names,
        f"what it learns depends on how the batch is cut into micro-batches: {', '.join(names)}; let `observe` give "
        "rows of images or patches, or sums, and take means in `commit`",
    )


@torch.no_grad()
def _learns_into_buffers(spec: MaskerSpec) -> None:
    """Masks of a run that goes on from what was saved are those of the run that was not stopped."""
    straight, resumed = _learner(spec), _learner(spec)
    grid = _grid(spec)
    list(_trained(straight, grid, 0, STOP))
    saved = io.BytesIO()
    torch.save(straight.state_dict(), saved)
    saved.seek(0)
    resumed.load_state_dict(torch.load(saved, weights_only=True))
    pairs = zip(_trained(straight, grid, STOP, STEPS), _trained(resumed, grid, STOP, STEPS), strict=True)
    for step, (first, second) in enumerate(pairs, start=STOP):
        require(
            torch.equal(first, second),
            f"the masks of a resumed run differ at step {step}; keep what `observe` and `commit` learn in buffers",
        )


def _trained(masker: Masker, grid: Grid, begin: int, end: int) -> Iterator[Tensor]:
    """The masks of each step, the masker learning from them."""
    for step in range(begin, end):
        stage = masker.at(step / STEPS)
        yield stage.sample(seeds.draw(0, step, "mask", rows=FEW), scene_of(stage, grid, FEW))
        rows = _observed(masker, grid, FEW, step)
        if rows:
            masker.commit(rows)
