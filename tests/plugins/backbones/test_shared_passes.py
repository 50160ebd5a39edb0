"""Askers that share a pass of a real network receive what a pass of their own would give."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sslkit import CNN, RandomMasker, Swin
from sslkit.core.pass_plan import Plan
from sslkit.core.passes import Encode, Request
from sslkit.errors import SpecError
from tests.plugins.backbones.variants import VARIANTS, build, perturbed, random_mask, view

HALF = RandomMasker(ratio=0.5)
NETS = {name: build(name) for name in ("plain with registers", "beit relative", "rope of every block")}
for net in NETS.values():
    net.serve([Encode("a", mask=HALF, mode="token")])
    perturbed(net)
ASKED = st.builds(
    Encode,
    view=st.sampled_from(["a", "b"]),
    mask=st.just(None),
    layers=st.lists(st.integers(-2, 1), max_size=3, unique=True).map(tuple),
    attention=st.booleans(),
) | st.builds(
    Encode,
    view=st.sampled_from(["a", "b"]),
    mask=st.just(HALF),
    mode=st.sampled_from(["drop", "token"]),
    layers=st.lists(st.integers(-2, 1), max_size=2, unique=True).map(tuple),
)  # fmt: skip
IMAGES = {
    "a": torch.randn(1, 2, 3, 16, 16, generator=torch.Generator().manual_seed(0)),
    "b": torch.randn(2, 2, 3, 8, 8, generator=torch.Generator().manual_seed(1)),
}
MASKS = {"a": random_mask(1, 2, 16, 8), "b": random_mask(2, 2, 4, 2, seed=1)}


def request(asked):
    mask = None if asked.mask is None else MASKS[asked.view]
    return Request(IMAGES[asked.view], mask, asked.mode, asked.layers, asked.attention)


@pytest.mark.parametrize("name", NETS)
@settings(max_examples=15)
@given(asked=st.lists(ASKED, min_size=1, max_size=5))
@torch.no_grad()
def test_shared_answers_are_those_of_passes_of_their_own(name, asked):
    """Of two views, both modes, any blocks from either end, and attention beside them."""
    net, plan = NETS[name], Plan(asked)
    answers = net([request(run) for run in plan.runs])
    for one, share in zip(plan.asked, plan.shares, strict=True):
        found, (alone,) = share.of(answers), net([request(one)])
        assert len(found.layers) == len(one.layers)
        pairs = [
            (found.cls, alone.cls),
            (found.patch, alone.patch),
            *zip(found.layers, alone.layers, strict=True),
        ]
        pairs += [(found.attention, alone.attention)] if one.attention else []
        for shared, own in pairs:
            torch.testing.assert_close(shared, own, rtol=1e-4, atol=1e-5)
        assert (found.attention is None) == (not one.attention)


@torch.no_grad()
@pytest.mark.parametrize("spec", [Swin.example(), CNN.example()], ids=["swin", "cnn"])
def test_layers_of_other_networks_are_shared_too(spec):
    net = spec.build(view(32)).eval()
    images = torch.randn(1, 2, 3, 32, 32)
    last = net.depth - 1
    plan = Plan([Encode("a"), Encode("a", layers=(-1,)), Encode("a", layers=(last, -1))])
    assert len(plan.runs) == 1
    answers = net([Request(images, None, "drop", run.layers) for run in plan.runs])
    (alone,) = net([Request(images, None, "drop", (-1,))])
    for share, count in zip(plan.shares, (0, 1, 2), strict=True):
        found = share.of(answers)
        assert len(found.layers) == count
        for layer in found.layers:
            torch.testing.assert_close(layer, alone.layers[0])
        torch.testing.assert_close(found.patch, alone.patch)


@pytest.mark.parametrize("name", VARIANTS)
def test_positions_of_a_view_of_another_size_are_told_by_the_grid(name):
    """As many tokens as `grid` says at every size, whatever size the tables were made for."""
    net = build(name)
    for size in (8, 16, 24):
        grid = net.grid(size)
        with torch.no_grad():
            (whole,) = net([Request(torch.randn(1, 1, 3, size, size), None, "drop", (0,))])
            mask = random_mask(1, 1, grid.patches, 2)
            (part,) = net([Request(torch.randn(1, 1, 3, size, size), mask, "drop", (0,))])
        assert whole.patch.shape == (1, 1, (size // 4) ** 2, 16)
        assert whole.layers[0].shape == (1, 1, 1 + grid.patches, 16)
        assert part.patch.shape == (1, 1, 2, 16)
        assert whole.patch.isfinite().all()
    with pytest.raises(SpecError, match="layer 2 does not exist"):
        net([Request(torch.randn(1, 1, 3, 16, 16), None, "drop", (2,))])
