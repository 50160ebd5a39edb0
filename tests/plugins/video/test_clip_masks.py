"""Maskers of clips: tubes, moments, the future, and places that move."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sslkit.core.masker import Scene
from sslkit.core.random_stream import Draw
from sslkit.errors import SpecError
from sslkit.plugin import Grid
from sslkit_video.clip_masks import motion
from sslkit_video.specs.masks import Causal, FrameMasker, MotionMasker, Tube
from tests.masks import on

GRID = Grid.of((4, 3, 5), (2, 4, 4))
ROWS = torch.arange(12).reshape(2, 6)


def clips(rows=ROWS, moving=None):
    """Noise that stands still, but for the place `moving`, which has noise of its own in each frame."""
    generator = torch.Generator().manual_seed(1)
    still = torch.rand(*rows.shape, 3, 1, 12, 20, generator=generator).expand(-1, -1, -1, 8, -1, -1).clone()
    if moving is not None:
        row, col = moving
        part = still[..., row * 4 : row * 4 + 4, col * 4 : col * 4 + 4]
        part.copy_(torch.rand(part.shape, generator=generator))
    return still


def sample(spec, grid=GRID, key=3, scene=None):
    """`[V, B, T, H, W]` bool."""
    masker = spec.build(*on(grid))
    hidden = masker.sample(Draw(key, ROWS), Scene(clips() if scene is None else scene))
    assert masker.visible == grid.patches - masker.most
    assert (hidden.sum(-1) == masker.most).all()
    return hidden.unflatten(-1, grid.shape)


@pytest.mark.parametrize("row", range(5))
def test_tubes_hide_as_many_as_videomae(golden, row):
    """MCG-NJU/VideoMAE@14ef8d856287:masking_generator.py TubeMaskingGenerator."""
    moments, height, width, ratio, places, total, count, same, distinct = golden("videomae_tube_mask")[
        "rows"
    ][row].tolist()
    grid = Grid.of((int(moments), int(height), int(width)), (2, 16, 16))
    masker = Tube(ratio=ratio).build(*on(grid))
    hidden = masker.sample(Draw(0, torch.arange(50)), Scene(torch.empty(0))).unflatten(-1, grid.shape)
    assert hidden[0].sum() == total == count
    assert (hidden.sum((-1, -2)) == places).all()
    assert same == 1
    assert (hidden == hidden[:, :1]).all()
    assert len({mask.numpy().tobytes() for mask in hidden}) >= distinct - 1


def test_tubes_are_anywhere():
    hidden = sample(Tube(ratio=0.5))
    assert (hidden == hidden[:, :, :1]).all()
    assert hidden.any((0, 1)).all()
    assert not hidden.all((0, 1)).any()


def test_whole_moments_are_hidden():
    hidden = sample(FrameMasker(ratio=0.5)).flatten(-2)
    assert (hidden.all(-1) == hidden.any(-1)).all()
    assert (hidden.all(-1).sum(-1) == 2).all()
    assert len({mask.numpy().tobytes() for mask in hidden.flatten(0, 1)}) > 1


def test_the_future_is_hidden():
    hidden = sample(Causal(ratio=0.75))
    assert not hidden[:, :, 0].any()
    assert hidden[:, :, 1:].all()


def test_what_moves_is_hidden_more_often():
    scene = clips(moving=(1, 2))
    share = torch.stack([sample(MotionMasker(ratio=0.4), key=key, scene=scene) for key in range(40)]).float()
    share = share.mean((0, 1, 2, 3))
    assert share[1, 2] > 0.9
    others = share.flatten()[[i for i in range(15) if i != 7]]
    assert others.max() < 0.6
    assert (
        sample(MotionMasker(ratio=0.4), scene=scene) == sample(MotionMasker(ratio=0.4), scene=scene)
    ).all()


def test_without_strength_places_have_equal_chances():
    scene = clips(moving=(1, 2))
    masks = [sample(MotionMasker(ratio=0.4, strength=0.0), key=key, scene=scene) for key in range(100)]
    share = torch.stack(masks).float().mean((0, 1, 2, 3))
    assert (share - 0.4).abs().max() < 0.07


def test_where_nothing_moves_weights_are_equal():
    weights = motion(clips(), GRID)
    assert torch.allclose(weights, torch.ones_like(weights), atol=1e-3)
    moving = motion(clips(moving=(0, 4)), GRID)
    assert (moving.argmax(-1) == 4).all()
    assert torch.allclose(moving.mean(-1), torch.ones(2, 6), atol=1e-3)


KINDS = st.sampled_from([Tube, FrameMasker, Causal, MotionMasker])
SIDES = st.integers(2, 6)


@given(kind=KINDS, moments=SIDES, rows=SIDES, cols=SIDES, ratio=st.sampled_from([0.5, 0.6, 0.75, 0.9]))
def test_shares_are_rounded_down(kind, moments, rows, cols, ratio):
    grid = Grid.of((moments, rows, cols), (1, 4, 4))
    things, each = (rows * cols, moments) if kind in (Tube, MotionMasker) else (moments, rows * cols)
    expected = math.floor(things * ratio + 1e-9)
    masker = kind(ratio=ratio).build(*on(grid))
    assert masker.most == expected * each


@pytest.mark.parametrize(
    ("spec", "words"), [(Tube(ratio=0.05), "0 of 15"), (FrameMasker(ratio=0.1), "0 of 4")]
)
def test_something_is_hidden(spec, words):
    with pytest.raises(SpecError, match=words):
        spec.build(*on(GRID))


@pytest.mark.parametrize("spec", [Tube(), FrameMasker(), Causal(), MotionMasker()])
def test_images_have_no_moments(spec):
    with pytest.raises(SpecError, match="clips"):
        spec.build(*on(Grid(4, 4, 8)))
