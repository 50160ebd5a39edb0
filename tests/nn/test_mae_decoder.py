"""The decoder; its arithmetic is held against the reference in tests/plugins/objectives/masked/test_mae.py."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sslkit import RandomMasker
from sslkit.core.masker import make_mask
from sslkit.core.passes import Tokens
from sslkit.core.random_stream import Draw
from sslkit.core.view import Grid
from sslkit.nn.initialization import xavier
from sslkit.nn.mae_decoder import PatchDecoder
from tests.masks import UNSEEN, on

GRID = Grid(3, 5, 4)


def tokens(ratio=0.6, views=2, images=3, dim=8):
    mask = make_mask(
        RandomMasker(ratio=ratio).build(*on(GRID)),
        Draw(5, torch.arange(views * images).reshape(views, images)),
        UNSEEN,
    )
    kept = mask.keep.shape[-1]
    return Tokens(
        torch.zeros(1), torch.randn(views, images, dim), torch.randn(views, images, kept, dim), mask, ()
    )


def decoder(depth=1):
    return PatchDecoder(8, 16, depth, 2, GRID, 7)


def test_every_patch_gets_a_prediction():
    assert decoder()(tokens()).shape == (2, 3, 15, 7)


def test_of_a_mask_only_the_hidden_patches_are_predicted():
    torch.manual_seed(0)
    made, given = decoder(), tokens()
    found = made(given, given.mask)
    assert found.shape == (int(given.mask.hidden.sum()), 7)
    assert torch.allclose(found, given.mask.pick(made(given)), atol=1e-6)


def test_hidden_places_hold_the_one_mask_token_and_visible_ones_their_own():
    made, given = decoder(depth=0), tokens()
    nn.init.normal_(made.mask_token)
    visible = made.embed(torch.cat([given.cls[:, :, None], given.patch], 2)).flatten(0, 1)
    placed = made._unshuffle(visible, given)[:, 1:].unflatten(0, (2, 3))
    hidden = given.mask.hidden
    assert torch.equal(placed[hidden], made.mask_token[0].expand(int(hidden.sum()), -1))
    assert torch.equal(placed[~hidden], visible[:, 1:].reshape(-1, 16))


def test_a_prediction_depends_on_every_visible_token_and_on_its_place():
    made, given = decoder(), tokens()
    out = made(given)
    moved = made(given._replace(patch=given.patch.flip(2)))
    assert not torch.allclose(out, moved, atol=1e-4)
    hidden_in_first = given.mask.hidden[0, 0]
    rows = out[0, 0][hidden_in_first]
    assert (rows[0] - rows[1]).abs().max() > 1e-4  # same token, other position


def test_positions_are_fixed_and_not_saved():
    made = decoder()
    assert "positions" not in made.state_dict()
    assert made.positions.shape == (1, 16, 16)
    assert not made.positions[0, 0].any()


@pytest.mark.parametrize("depth", [0, 2])
def test_every_parameter_takes_a_gradient(depth):
    made = decoder(depth)
    made(tokens()).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in made.parameters())


def test_half_precision_tokens_are_decoded_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        out = decoder()(tokens())
    assert out.dtype == torch.bfloat16
    assert out.isfinite().all()


def test_xavier_reaches_linear_and_norm_layers_only():
    parts = nn.Sequential(
        nn.Linear(30, 50), nn.LayerNorm(50), nn.Conv2d(1, 1, 1), nn.Linear(50, 4, bias=False)
    )
    before = parts[2].weight.clone()
    nn.init.zeros_(parts[1].weight)
    xavier(parts)
    bound = (6 / 80) ** 0.5
    assert parts[0].weight.abs().max() <= bound
    assert parts[0].weight.abs().max() > 0.9 * bound
    assert not parts[0].bias.any()
    assert (parts[1].weight == 1).all()
    assert torch.equal(parts[2].weight, before)
