"""The attention masker against AttMask's arithmetic."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sslkit import AttentionMasker
from sslkit.core.context import Env, NetInfo
from sslkit.core.masker import Masker, Scene
from sslkit.core.passes import Encode, Tokens
from sslkit.core.random_stream import Draw
from sslkit.core.view import Grid
from sslkit.errors import SpecError
from sslkit.testing.fake_scene import VIEW
from tests.masks import on

GRID = Grid(14, 14, 16)
ROWS = torch.arange(40).reshape(2, 20)


def attention(heads: int = 3) -> Tensor:
    """`[2, 20, heads, 196]`, each row a distribution."""
    return torch.randn(2, 20, heads, 196, generator=torch.Generator().manual_seed(0)).softmax(-1)


def scene(weights: Tensor) -> Scene:
    patch = torch.zeros(*weights.shape[:2], weights.shape[-1], 4)
    return Scene(torch.empty(0), (Tokens(torch.empty(0), patch[:, :, 0], patch, None, (), weights),))


def sampler(**fields: object) -> Masker:
    return AttentionMasker(**fields).build(*on(GRID))


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.75])
@pytest.mark.parametrize(("variant", "descending"), [("high", True), ("low", False)])
def test_high_and_low_hide_what_attmask_does(ratio: float, variant: str, descending: bool) -> None:
    """`attmask.py`, `attention_masking`: the first int(N ratio) of argsort of the mean over heads; here ceil."""
    weights = attention()
    made = sampler(ratio=ratio, variant=variant)
    assert made.most == math.ceil(196 * ratio)
    index = torch.argsort(weights.mean(2), descending=descending)[..., : made.most]
    expected = torch.zeros(2, 20, 196, dtype=torch.bool).scatter(-1, index, True)
    assert torch.equal(made.sample(Draw(0, ROWS), scene(weights)), expected)


def test_hints_are_random_ones_of_the_most_attended() -> None:
    """`show_hints`: int(show_max ratio N) of the int(show_max N) most attended. AttMask hides that many fewer."""
    weights = attention()
    order = torch.argsort(weights.mean(2), descending=True)
    made = sampler(ratio=0.3, variant="hint", hints=0.1)
    masks = [made.sample(Draw(key, ROWS), scene(weights)) for key in range(60)]
    top, reveal, count = int(0.1 * 196), int(0.1 * 0.3 * 196), 196 - made.visible
    for hidden in masks:
        by_attention = hidden.gather(-1, order)
        assert (by_attention.sum(-1) == count).all()
        assert ((~by_attention[..., :top]).sum(-1) == reveal).all()
        assert by_attention[..., top : count + reveal].all(), "the next in order take the places of hints"
    shown = torch.stack([(~hidden).gather(-1, order)[..., :top] for hidden in masks]).float()
    assert torch.allclose(shown.mean((0, 1, 2)), torch.full((top,), reveal / top), atol=0.04)


def test_a_share_leaves_the_rest_of_the_mask_to_chance() -> None:
    weights = attention()
    order = torch.argsort(weights.mean(2), descending=True)
    made = sampler(ratio=0.5, share=0.25)
    first, second = (made.sample(Draw(key, ROWS), scene(weights)).gather(-1, order) for key in (0, 1))
    assert first[..., :24].all()
    assert second[..., :24].all()
    assert not torch.equal(first, second)
    assert abs(first[..., 24:].float().mean() - 74 / 172) < 1e-6
    assert abs(first[..., 24:48].float().mean() - 74 / 172) < 0.06


def test_it_reads_one_pass_of_its_net_with_attention() -> None:
    assert sampler().passes == (Encode(VIEW, net="teacher", attention=True),)
    assert sampler(net="student").passes == (Encode(VIEW, attention=True),)


@pytest.mark.parametrize(
    ("grid", "fields", "text"),
    [
        (Grid(2, 2, 8), {}, "shows 0 of 4 patches where 1 stay visible"),
        (GRID, {"ratio": 0.95}, "shows 18 of 196 patches where 9 stay visible"),
        (GRID, {"ratio": 0.999}, "ratio 0.999 hides 196 of 196 patches"),
    ],
)
def test_counts_that_cannot_be_are_spec_errors(grid: Grid, fields: dict[str, float], text: str) -> None:
    with pytest.raises(SpecError, match=text):
        AttentionMasker(variant="hint", **fields).build(*on(grid))


def test_a_net_with_other_patches_is_a_spec_error() -> None:
    env, view = on(GRID)
    coarse = NetInfo(8, 2, {view: Grid(7, 7, 32)})
    other = Env(env.views, {**env.nets, "teacher": coarse}, env.grids)
    with pytest.raises(
        SpecError, match="7 x 7 patches but the student into 14 x 14; use a net with patches of 16"
    ):
        AttentionMasker().build(other, view)
