"""Weights of a backbone in the sizes of another of its kind."""

from __future__ import annotations

import pytest
import torch

from sslkit.core.view import View
from sslkit_backbones.specs.convolutional import CNN
from sslkit_backbones.specs.transformers import Swin, ViT

SMALL = {"name": "vit_tiny_patch16_224", "width": 16, "depth": 1, "heads": 2}


def view(size, channels=3):
    return View(size, 1, channels, (0.5,) * channels, (0.5,) * channels)


def resized(spec, other, size=8, other_size=8, channels=3):
    """The state of `spec`'s network in the sizes of `other`'s, what was told, and the network that takes it."""
    torch.manual_seed(0)
    net, target = spec.build(view(size)), other.build(view(other_size, channels))
    state, changes = target.resized(net.state_dict())
    shapes = {name: value.shape for name, value in target.state_dict().items()}
    assert {name: value.shape for name, value in state.items()} == shapes
    target.load_state_dict(dict(state))
    return state, list(changes), net


@pytest.mark.parametrize(
    "spec",
    [
        ViT(**SMALL, patch=4, positions="learned"),
        ViT(**SMALL, patch=4),
        CNN(name="test_resnet"),
        Swin(name="swin_tiny_patch4_window7_224", width=8, depths=(1,), heads=(1,), window=2),
    ],
)
def test_of_equal_sizes_nothing_changes(spec):
    state, changes, net = resized(spec, spec, 32, 32)
    assert changes == []
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_learned_positions_are_resampled():
    spec = ViT(**SMALL, patch=4, positions="learned")
    state, changes, net = resized(spec, spec, 8, 16)
    assert changes == ["positions from 2 x 2 to 4 x 4 patches"]
    before, after = net.state_dict()["net.pos_embed"], state["net.pos_embed"]
    assert torch.equal(before[:, 0], after[:, 0]), "that of the class token stays"


def test_fixed_positions_are_those_of_the_new_size():
    spec = ViT(**SMALL, patch=4)
    state, changes, _ = resized(spec, spec, 8, 16)
    assert changes == []
    assert torch.equal(state["net.pos_embed"], spec.build(view(16)).state_dict()["net.pos_embed"])


def test_patches_of_another_size():
    state, changes, net = resized(ViT(**SMALL, patch=2), ViT(**SMALL, patch=4), 8, 16)
    assert changes == ["patch kernel from 2 x 2 to 4 x 4 pixels"]
    name = "net.blocks.0.attn.qkv.weight"
    assert torch.equal(state[name], net.state_dict()[name])


@pytest.mark.parametrize(
    ("spec", "name"),
    [(ViT(**SMALL, patch=4), "patch_embed.proj"), (CNN(name="resnet10t"), "conv1.0")],
)
def test_other_channels(spec, name):
    _, changes, _ = resized(spec, spec, 32, 32, channels=1)
    assert changes == [f"{name} from 3 to 1 channels"]
