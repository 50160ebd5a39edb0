"""The way out of a public layout is its way in, inverted."""

from __future__ import annotations

import pytest
import torch

from sslkit.errors import SpecError
from sslkit_backbones.public_weights.hugging_face_layouts import vit
from sslkit_backbones.public_weights.inverted_layout import inverted, numbered, places_of
from sslkit_backbones.public_weights.weight_layout import Target
from sslkit_backbones.timm_networks import create

BLOCK = "encoder.layer.0"
ATTENTION = f"{BLOCK}.attention.attention"
SHAPES = {
    "embeddings.cls_token": (1, 1, 8),
    "embeddings.patch_embeddings.projection.weight": (8, 3, 4, 4),
    "embeddings.patch_embeddings.projection.bias": (8,),
    "embeddings.position_embeddings": (1, 5, 8),
    **{f"{ATTENTION}.{part}.{kind}": (8, 8)[: 2 if kind == "weight" else 1]
       for part in ("query", "key", "value") for kind in ("weight", "bias")},
    f"{BLOCK}.attention.output.dense.weight": (8, 8),
    f"{BLOCK}.attention.output.dense.bias": (8,),
    **{f"{BLOCK}.layernorm_{place}.{kind}": (8,) for place in ("before", "after") for kind in ("weight", "bias")},
    f"{BLOCK}.intermediate.dense.weight": (32, 8),
    f"{BLOCK}.intermediate.dense.bias": (32,),
    f"{BLOCK}.output.dense.weight": (8, 32),
    f"{BLOCK}.output.dense.bias": (8,),
    "layernorm.weight": (8,),
    "layernorm.bias": (8,),
}  # fmt: skip
"""Of a `ViTModel` of one block, without its pooler."""


@pytest.fixture
def net():
    sizes = {"patch_size": 4, "embed_dim": 8, "depth": 1, "num_heads": 2, "img_size": 8, "num_classes": 0}
    return create("vit_tiny_patch16_224", sizes, None, "*")


@pytest.fixture
def shapes():
    return {name: torch.Size(shape) for name, shape in SHAPES.items()}


def test_numbers_count_through_all_arrays():
    arrays = numbered({"a": torch.Size((2, 3)), "b": torch.Size(())})
    assert arrays["a"].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert arrays["b"].item() == 7


def test_the_reader_reads_what_was_inverted(net, shapes):
    state = dict(net.state_dict())
    file = inverted(state, {}, places_of(shapes, net))
    assert {name: value.shape for name, value in file.items()} == shapes
    again = vit(file, Target(net, state.keys(), []))
    assert again.keys() == state.keys()
    assert all(torch.equal(again[name], state[name]) for name in state)


def test_joint_projections_are_cut(net, shapes):
    file = inverted(net.state_dict(), {}, places_of(shapes, net))
    query, key, value = net.blocks[0].attn.qkv.weight.chunk(3)
    for name, part in (("query", query), ("key", key), ("value", value)):
        assert torch.equal(file[f"{ATTENTION}.{name}.weight"], part)


def test_what_the_file_alone_has_is_a_default(net, shapes):
    more = {**shapes, "pooler.dense.bias": torch.Size((8,))}
    file = inverted(net.state_dict(), {"pooler.dense.bias": torch.full((8,), 3.0)}, places_of(more, net))
    assert torch.equal(file["pooler.dense.bias"], torch.full((8,), 3.0))
    assert torch.equal(file["layernorm.weight"], net.norm.weight)


def test_a_default_does_not_replace_a_weight(net, shapes):
    file = inverted(net.state_dict(), {"layernorm.weight": torch.zeros(8)}, places_of(shapes, net))
    assert torch.equal(file["layernorm.weight"], net.norm.weight)


def test_what_nothing_is_known_of_is_named(net, shapes):
    more = {**shapes, "pooler.dense.bias": torch.Size((8,))}
    with pytest.raises(SpecError, match=r"needs pooler\.dense\.bias, which this network does not have"):
        inverted(net.state_dict(), {}, places_of(more, net))


@pytest.mark.parametrize("left_out", ["layernorm.bias", f"{BLOCK}.output.dense.weight"])
def test_weights_without_a_place_are_named(net, shapes, left_out):
    fewer = {name: shape for name, shape in shapes.items() if name != left_out}
    ours = {"layernorm.bias": "norm.bias"}.get(left_out, "blocks.0.mlp.fc2.weight")
    with pytest.raises(SpecError, match=f"has no place for {ours}"):
        inverted(net.state_dict(), {}, places_of(fewer, net))


def test_biases_without_a_place_must_be_0(net, shapes):
    fewer = {name: shape for name, shape in shapes.items() if name != f"{ATTENTION}.key.bias"}
    state = dict(net.state_dict())
    state["blocks.0.attn.qkv.bias"] = torch.cat([torch.ones(8), torch.zeros(8), torch.ones(8)])
    file = inverted(state, {}, places_of(fewer, net))
    assert torch.equal(file[f"{ATTENTION}.value.bias"], torch.ones(8))
    state["blocks.0.attn.qkv.bias"] = torch.ones(24)
    with pytest.raises(SpecError, match=r"has no place for blocks\.0\.attn\.qkv\.bias"):
        inverted(state, {}, places_of(fewer, net))


def test_arrays_of_other_sizes_are_named(net, shapes):
    other = {**shapes, "layernorm.weight": torch.Size((9,))}
    with pytest.raises(SpecError, match=r"has no place for norm\.weight"):
        inverted(net.state_dict(), {}, places_of(other, net))
