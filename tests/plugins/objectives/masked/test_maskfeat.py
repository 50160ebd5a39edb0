"""MaskFeat: what it takes from facebookresearch/SlowFast. Its target's parity is in tests/functional/test_hog.py."""

from __future__ import annotations

import pytest
import torch

from sslkit import HOG, BlockMasker, MaskFeat, RandomMasker
from sslkit.core.context import Env, NetInfo
from sslkit.core.masker import make_mask
from sslkit.core.passes import Tokens
from sslkit.core.random_stream import Draw
from sslkit.core.view import Grid, View
from sslkit.errors import SpecError
from sslkit.functional.hog import hog
from sslkit.specs.load import parse
from tests import tiny
from tests.masks import UNSEEN

ENV = Env(
    {"global": View(224, 1, 3, (0.0,) * 3, (1.0,) * 3)},
    {"student": NetInfo(24, 2)},
    {"global": Grid(14, 14, 16)},
)


def seen(spec, images=3):
    mask = make_mask(spec.masker.build(ENV, "global"), Draw(5, torch.arange(images)[None]), UNSEEN)
    pictures = torch.rand(1, images, 3, 224, 224)
    return Tokens(pictures, torch.randn(1, images, 24), torch.randn(1, images, 196, 24), mask, ())


def test_defaults_are_those_of_the_reference():
    spec = MaskFeat()
    assert spec.target == HOG(bins=9, cell=8, variant="slowfast", loss="l2")
    assert spec.masker == BlockMasker(recipe="beit", ratio=0.4, min_block=15)
    assert round(196 * 0.4) // 5 == spec.masker.min_block
    objective = spec.build(ENV)
    assert objective.passes[0].mode == "token"
    assert objective.decoder.linear.weight.shape == (108, 24)
    assert objective.decoder.linear.weight.std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("spec", [MaskFeat(), MaskFeat(masker=RandomMasker(ratio=0.5))], ids=str)
def test_the_loss_is_the_mean_square_over_the_hidden_patches_of_the_batch(spec):
    """With masks of any count, from the definition."""
    tokens, objective = seen(spec), spec.build(ENV)
    values = hog(tokens.image[0]).flatten(1, 2)
    goal = values.unfold(2, 2, 2).unfold(3, 2, 2).permute(0, 2, 3, 1, 4, 5).flatten(1, 2).flatten(2)
    error = (objective.decoder.linear(tokens.patch[0]) - goal)[tokens.mask.hidden[0]]
    assert 0 < len(error) < 3 * 196
    found = objective({}, tokens).loss
    assert found.item() == pytest.approx(error.square().mean().item(), rel=1e-5)


def test_only_hidden_patches_are_predicted():
    spec = MaskFeat(masker=RandomMasker(ratio=0.5))
    tokens, objective = seen(spec), spec.build(ENV)
    tokens.patch.requires_grad_()
    objective({}, tokens).loss.backward()
    assert torch.equal(tokens.patch.grad.abs().sum(-1) > 0, tokens.mask.hidden)


def test_it_trains_on_small_patches_with_small_cells():
    parts = {"masker": {"kind": "random", "ratio": 0.5}, "target": {"kind": "hog", "cell": 4}}
    run = parse(tiny.fields(objective={"kind": "maskfeat", **parts}))
    _, losses = tiny.steps(run, 3)
    assert all(loss < 1 for loss in losses)
    assert len(set(losses)) == 3


def test_an_unknown_view_is_named():
    with pytest.raises(SpecError, match=r"view: 'local' is not a view of this run\. Did you mean 'global'\?"):
        parse(tiny.fields(objective={"kind": "maskfeat", "view": "local"}))
