"""Layers of a vision transformer's parameters."""

from __future__ import annotations

import pytest

from sslkit import RandomMasker, ViT
from sslkit.core.passes import Encode
from sslkit.core.view import View
from sslkit_backbones.layer_numbers import vit_layer
from tests.plugins.backbones.variants import VARIANTS, spec
from tests.plugins.backbones.variants import view as variants_view

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


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameters_of_every_variant_have_a_layer(variant):
    """Whatever a class of timm calls its tokens, tables and rotations: nothing before the blocks learns like a head."""
    net = spec(variant).build(variants_view())
    net.serve([Encode("global", mask=RandomMasker(ratio=0.5), mode="token")])
    found = {name: net.layer_of(name) for name, _ in net.named_parameters()}
    assert set(found.values()) == {0, 1, 2, 3}
    assert {name for name in found if ".blocks." in name} == {
        n for n, layer in found.items() if layer in (1, 2)
    }
    shared = {name for name in found if "rel_pos" in name or "rope" in name}
    last = {name for name, layer in found.items() if layer == 3}
    assert last - shared == {"net.norm.weight", "net.norm.bias"} & set(found)
    assert shared <= last, (
        "what all blocks share is the rate of the last, as in BEiT's `get_num_layer_for_vit`"
    )
    stem = {name for name, layer in found.items() if layer == 0}
    assert {"mask_token", "net.patch_embed.proj.weight"} <= stem
    assert {n for n in found if "cls_token" in n or "reg_token" in n or "pos_embed" in n} <= stem


@pytest.mark.parametrize(
    ("variant", "fields"),
    [("beit relative", {}), ("eva rotary", {}), ("relpos without a class", {}), ("plain with registers", {})],
)
def test_rates_fall_from_the_last_block_to_the_stem(variant, fields):
    from sslkit.optim.optimizer import layer_scales
    from sslkit.specs.optimizer import OptimizerSpec

    net = spec(variant, **fields).build(variants_view())
    scales = layer_scales(OptimizerSpec(layer_decay=0.5), net)
    by_layer = {net.layer_of(n): scales[p] for n, p in net.named_parameters()}
    assert by_layer == {0: 0.125, 1: 0.25, 2: 0.5, 3: 1.0}
