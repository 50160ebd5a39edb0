"""Targets of the tokenizers that plugins bring: two shapes of modules, and what is refused."""

from __future__ import annotations

import re
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sslkit.errors import SpecError
from sslkit.interfaces import TokenTarget, token_target
from tests.plugins.tokenizers.shapes import DalleTokens, VQGANTokens, crops, env


def target_of(make, side=32, patch=8, **options) -> TokenTarget:
    run = env(side, patch)
    return token_target(make, run.view("a"), run.grid("a"), **{"codes": 8, **options})


def test_a_module_in_the_shape_of_dall_e():
    """Logits of pixels that its own map made, from pictures of half the student's size (BEiT: 224 and 112)."""
    target = target_of(partial(DalleTokens, 20), 64, 16, codes=20, size=32).train()
    images = torch.rand(1, 2, 3, 64, 64)
    half = F.interpolate(images[0], (32, 32), mode="bicubic", antialias=True).clamp(0, 1)
    expected = target.tokenizer.module.encoder(0.8 * half + 0.1).argmax(1)
    ids = target(crops(images))
    assert ids.shape == (1, 2, 16)
    assert (ids[0] == expected.flatten(1)).float().mean() > 0.95, "rounding may move a near tie"
    assert torch.equal(ids, target(crops(images))), "dropout is off"


def test_a_module_in_the_shape_of_vqgan():
    """Flat ids in the order of rows; the view's normalization is undone before its own."""
    target = target_of(partial(VQGANTokens, 9), 16, 4, codes=9)
    images = torch.rand(1, 3, 3, 16, 16)
    model = target.tokenizer.module.model
    assert torch.equal(target(crops(images))[0], model.encode(2 * images[0] - 1)[2][2].view(3, 16))


def test_it_is_frozen_and_moves_no_initial_weights():
    torch.manual_seed(0)
    target = target_of(partial(DalleTokens, 8))
    drawn = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(3))
    assert not any(p.requires_grad for p in target.parameters())
    assert not any(module.training for module in target.train().tokenizer.modules())
    assert target.dim == len(target.colors) == 8


def fails() -> nn.Module:
    raise ValueError("no weights here")


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (fails, {}, "target: the tokenizer cannot be made: no weights here"),
        (partial(nn.Linear, 7, 7), {"name": "`mine`"}, "target: `mine` fails on an image of 32 pixels"),
        (partial(nn.AvgPool2d, 8), {}, "gives torch.float32 [1, 3, 4, 4], expected int64 ids"),
        (partial(DalleTokens, 900), {}, "but has 8 codes"),
        (partial(DalleTokens, 8), {"size": 16}, "cuts an image of 16 pixels into 2 x 2 tokens, but the student's"),
    ],
)  # fmt: skip
def test_modules_that_do_not_fit_are_refused(make, options, message):
    with pytest.raises(SpecError, match=re.escape(message)):
        target_of(make, **options)
