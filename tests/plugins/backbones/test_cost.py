"""Masked encoding costs what it should: FLOPs of a forward and backward, counted by torch."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sslkit import RandomMasker, ViT
from sslkit.core.masker import mask_of
from sslkit.core.passes import Encode, Request
from sslkit.core.view import View

SIDE, PATCH, IMAGES, WIDTH, KEPT = 56, 4, 2, 16, 49
PATCHES = (SIDE // PATCH) ** 2


@pytest.fixture(scope="module")
def net():
    spec = ViT(name="vit_tiny_patch16_224", patch=PATCH, width=WIDTH, depth=2, heads=2)
    made = spec.build(View(SIDE, 1, 3, (0.5,) * 3, (0.5,) * 3))
    made.serve([Encode("global", mask=RandomMasker(ratio=0.75), mode="token")])
    return made


def counted(net, mode):
    """FLOPs of the whole backbone, and those outside its blocks."""
    hidden = torch.zeros(1, IMAGES, PATCHES, dtype=torch.bool)
    hidden[..., KEPT:] = True
    mask = None if mode == "all" else mask_of(hidden, KEPT, PATCHES - KEPT)
    request = Request(torch.randn(1, IMAGES, 3, SIDE, SIDE), mask, "drop" if mode == "all" else mode, ())
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        (tokens,) = net([request])
        (tokens.cls.sum() + tokens.patch.sum()).backward()
    by_module = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    blocks = [n for name, n in by_module.items() if name.rpartition(".")[0].endswith(".blocks")]
    assert len(blocks) == 2
    return counter.get_total_flops(), counter.get_total_flops() - sum(blocks)


def test_three_quarters_hidden_cost_less_than_35_percent(net):
    """Between the shares of attention, the square of that of the tokens, and of linear layers."""
    (whole, _), (masked, _) = counted(net, "all"), counted(net, "drop")
    share = (1 + KEPT) / (1 + PATCHES)
    assert share**2 < masked / whole < share < 0.35


@pytest.mark.parametrize(("mode", "patches"), [("all", PATCHES), ("drop", KEPT), ("token", PATCHES)])
def test_only_visible_patches_are_embedded(net, mode, patches):
    """One product in the forward, one for the gradient of the kernel, each a multiply and an add."""
    _, embedding = counted(net, mode)
    assert embedding == 2 * 2 * IMAGES * patches * 3 * PATCH**2 * WIDTH


def test_mask_tokens_save_nothing(net):
    assert counted(net, "token")[0] == counted(net, "all")[0]
