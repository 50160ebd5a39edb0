"""BEiT: what it takes from microsoft/unilm. Its target is tested in tests/plugins/tokenizers/test_vq_token.py."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from sslkit import BEiT, BlockMasker, PatchColors, RandomMasker
from sslkit.core.context import Env, NetInfo
from sslkit.core.masker import Scene, make_mask
from sslkit.core.passes import Tokens
from sslkit.core.random_stream import Draw
from sslkit.core.view import Grid, View
from sslkit.errors import SpecError
from sslkit.specs.load import parse
from tests import tiny

ENV = Env(
    {"global": View(224, 1, 3, (0.0,) * 3, (1.0,) * 3)},
    {"student": NetInfo(24, 2)},
    {"global": Grid(14, 14, 16)},
)
COLORS = PatchColors(levels=3)
TINY = {"kind": "patch_colors", "levels": 4}


def seen(spec, images=3):
    pictures = torch.rand(1, images, 3, 224, 224)
    masker = spec.masker.build(ENV, "global")
    mask = make_mask(masker, Draw(5, torch.arange(images)[None]), Scene(pictures))
    return Tokens(pictures, torch.randn(1, images, 24), torch.randn(1, images, 196, 24), mask, ())


def test_defaults_are_those_of_the_reference():
    spec = BEiT(target=COLORS)
    assert spec.masker == BlockMasker(recipe="beit")
    assert spec.masker.build(ENV, "global").most == 75
    objective = spec.build(ENV)
    assert objective.passes[0].mode == "token"
    assert objective.decoder.linear.weight.shape == (27, 24)
    assert objective.decoder.linear.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert not objective.decoder.linear.bias.any()


@pytest.mark.parametrize("masker", [BlockMasker(), RandomMasker(ratio=0.5)], ids=str)
def test_the_loss_is_the_mean_cross_entropy_over_the_hidden_patches_of_the_batch(masker):
    """With masks of any count: unilm `engine_for_pretraining.py:49-56`, which picks them before the loss."""
    spec = BEiT(target=COLORS, masker=masker)
    tokens, objective = seen(spec), spec.build(ENV)
    means = F.avg_pool2d(tokens.image[0], 16)
    digits = (means * 3).long()
    ids = (digits[:, 0] * 9 + digits[:, 1] * 3 + digits[:, 2]).flatten(1)
    hidden = tokens.mask.hidden[0]
    logits = objective.decoder.linear(tokens.patch[0])[hidden]
    out = objective({}, tokens)
    assert out.loss.item() == pytest.approx(F.cross_entropy(logits, ids[hidden]).item(), rel=1e-5)
    right = (logits.argmax(-1) == ids[hidden]).float().mean().item()
    assert out.metrics["accuracy"].item() == pytest.approx(right)


def test_it_learns_tokens_of_digits():
    """The mean brightness of a patch, from the other patches."""
    masker = {"kind": "random", "ratio": 0.5}
    options = {"optimizer": {"lr": 0.01, "scale": "absolute"}, "steps": 40}
    run = parse(tiny.fields(objective={"kind": "beit", "masker": masker, "target": TINY}, **options))
    _, losses = tiny.steps(run, 40)
    assert sum(losses[-5:]) / 5 < 0.85 * math.log(4), "better than knowing nothing"


def test_mistakes_are_named():
    with pytest.raises(SpecError, match=r"view: 'local' is not a view of this run\. Did you mean 'global'\?"):
        parse(tiny.fields(objective={"kind": "beit", "target": TINY, "view": "local"}))
    with pytest.raises(SpecError, match=r"objective\.target"):
        parse(tiny.fields(objective={"kind": "beit"}))
