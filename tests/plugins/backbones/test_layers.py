"""Layers of a vision transformer's parameters."""

from __future__ import annotations

import pytest

from sslkit import RandomMasker, ViT
from sslkit.core.env import View
from sslkit.core.passes import Encode
from sslkit_backbones.layers import vit_layer

VIEW = View(16, 1, 3, (0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("net.patch_embed.proj.weight", 0),
        ("net.cls_token", 0),
        ("net.reg_token", 0),
        ("net.pos_embed", 0),
        ("net.norm_pre.bias", 0),
        ("mask_token", 0),
        ("net.blocks.0.attn.qkv.weight", 1),
        ("net.blocks.11.norm1.weight", 12),
        ("net.norm.weight", 13),
        ("net.rel_pos_bias.table", 13),
        ("net.position_embedding", 13),
        ("net.norm_precise.weight", 13),
    ],
)
def test_maes_numbers(name, layer):
    assert vit_layer(name, 12) == layer


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "vit_small_patch14_reg4_dinov2", "vit_base_patch16_clip_224"]
)
def test_every_parameter_of_a_network_has_its_layer(name):
    """Class and register tokens, layer scale and norms before the blocks included."""
    net = ViT(name=name, patch=4, width=16, depth=3, heads=2, positions="learned").build(VIEW)
    net.serve([Encode("global", mask=RandomMasker(ratio=0.5), mode="token")])
    found = {n: net.layer_of(n) for n, _ in net.named_parameters()}
    assert set(found.values()) == {0, 1, 2, 3, 4}
    assert {n for n, layer in found.items() if layer == 4} == {"net.norm.weight", "net.norm.bias"}
    assert found["mask_token"] == 0
    assert all(f".blocks.{layer - 1}." in n for n, layer in found.items() if 0 < layer < 4)
