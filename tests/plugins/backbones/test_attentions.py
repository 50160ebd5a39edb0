"""The attention of every block, for every class and kind of positions that `vit` builds."""

from __future__ import annotations

import pytest
import torch

from sslkit import CNN, Swin, ViT
from sslkit.core.passes import Request
from sslkit.core.view import Grid
from sslkit.errors import SpecError
from sslkit_backbones.position_bias import block_arguments
from tests.plugins.backbones.variants import VARIANTS, build, view

every = pytest.mark.parametrize("variant", VARIANTS)


def request(images, **more):
    return Request(images[None], None, "drop", (), **more)


def put_in(block, weights):
    """From now on the block takes these weights in place of its own, without the fused kernel."""
    block.attn.fused_attn = False
    block.attn.attn_drop.register_forward_hook(lambda module, args, out: weights)


@every
@pytest.mark.parametrize("size", [16, 24])
def test_blocks_that_are_given_the_weights_make_the_tokens_of_the_fused_forward(variant, size):
    """Positions of another size than the network's too."""
    backbone = build(variant)
    images = torch.randn(2, 3, size, size)
    (whole,) = backbone([request(images)])
    told = backbone.attentions(images)
    for block, weights in zip(backbone.net.blocks, list(told.layers), strict=True):
        put_in(block, weights)
    (again,) = backbone([request(images)])
    assert torch.allclose(again.patch, whole.patch, atol=2e-5)
    assert torch.allclose(again.cls, whole.cls, atol=2e-5)


@every
def test_given_weights_matter(variant):
    """What the test above compares would notice other weights."""
    backbone = build(variant)
    images = torch.randn(1, 3, 16, 16)
    (whole,) = backbone([request(images)])
    first, *_ = backbone.attentions(images).layers
    put_in(backbone.net.blocks[0], first.flip(-1))
    (other,) = backbone([request(images)])
    assert not torch.allclose(other.patch, whole.patch, atol=1e-3)


@every
def test_they_are_distributions_over_all_tokens(variant):
    backbone = build(variant)
    told = backbone.attentions(torch.randn(3, 3, 24, 24))
    assert told.grid == Grid(6, 6, 4)
    assert told.prefix == backbone.prefix
    assert told.has_class == (backbone.net.cls_token is not None)
    layers = list(told.layers)
    assert len(layers) == backbone.depth
    for weights in layers:
        assert weights.shape == (3, 2, 36 + told.prefix, 36 + told.prefix)
        assert weights.dtype == torch.float32
        assert (weights >= 0).all()
        assert torch.allclose(weights.sum(-1), torch.ones(()), atol=1e-5)


@every
def test_the_last_is_what_a_request_for_attention_gets(variant):
    backbone = build(variant)
    images = torch.randn(2, 3, 16, 16)
    told = backbone.attentions(images)
    *_, last = told.layers
    (tokens,) = backbone([request(images, attention=True)])
    queries = last[:, :, :1] if told.has_class else last[:, :, told.prefix :]
    assert torch.allclose(tokens.attention[0], queries[..., told.prefix :].mean(2), atol=1e-6)


def test_images_need_not_be_square():
    backbone = build("plain with registers")
    told = backbone.attentions(torch.randn(1, 3, 8, 24))
    assert told.grid == Grid(2, 6, 4)
    assert next(told.layers).shape[-1] == told.prefix + 12


def test_layers_are_made_one_at_a_time():
    backbone = build("plain with registers")
    ran = []
    for block in backbone.net.blocks:
        block.register_forward_hook(lambda module, args, out: ran.append(module))
    layers = backbone.attentions(torch.randn(1, 3, 16, 16)).layers
    next(layers)
    assert ran == []
    next(layers)
    assert ran == [backbone.net.blocks[0]]


def test_double_precision_is_kept_and_reduced_precision_is_left():
    backbone = build("rope beside learned")
    images = torch.randn(1, 3, 16, 16)
    exact = list(build_double(backbone).attentions(images.double()).layers)
    backbone.float()
    with torch.autocast("cpu", torch.bfloat16):
        rough = list(backbone.attentions(images).layers)
    for one, other in zip(exact, rough, strict=True):
        assert one.dtype == torch.float64
        assert other.dtype == torch.float32
        assert torch.allclose(one.float(), other, atol=0.03)


def build_double(backbone):
    return backbone.double()


def test_block_arguments_are_those_of_the_forward():
    """Every block of a mixed rotary network has a rotation of its own."""
    backbone = build("rope of every block")
    images = torch.randn(1, 3, 16, 16)
    where = backbone._geometry([request(images)])
    first, second = (block_arguments(backbone.net, where, i)["rope"] for i in (0, 1))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("spec", [Swin.example(), CNN.example()], ids=lambda spec: spec.kind)
def test_networks_without_attention_among_all_tokens_say_so(spec):
    assert not spec.tells_attention
    assert ViT.example().tells_attention
    backbone = spec.build(view(32))
    with pytest.raises(
        SpecError, match=rf"{type(backbone).__name__} does not tell its attention; use a 'vit'"
    ):
        backbone.attentions(torch.randn(1, 3, 32, 32))


def test_unknown_blocks_are_named():
    backbone = build("plain with registers")
    backbone.net.blocks[1] = torch.nn.Identity()
    layers = backbone.attentions(torch.randn(1, 3, 16, 16)).layers
    next(layers)
    with pytest.raises(SpecError, match="blocks of type Identity do not tell their attention"):
        next(layers)
