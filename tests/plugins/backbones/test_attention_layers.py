"""The class token's attention against the weights that timm computes itself."""

from __future__ import annotations

import pytest
import torch

from sslkit import ViT
from sslkit.core.passes import Mask, Request
from sslkit.errors import SpecError
from tests.plugins.backbones.test_vit import SMALL, view


def build(**fields):
    backbone = ViT(**{**SMALL, **fields}, init="timm").build(view()).eval()
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return backbone


def weights_of_timm(backbone, images, net=None):
    """The last block's weights `[B, heads, L, L]`, which timm shows to its dropout."""
    net = backbone.net if net is None else net
    attn, seen = net.blocks[-1].attn, []
    attn.fused_attn = False
    handle = attn.attn_drop.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    net.forward_features(images)
    handle.remove()
    attn.fused_attn = True
    return seen[0]


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize(
    "name", ["vit_small_patch16_224", "vit_small_patch14_reg4_dinov2", "vit_base_patch16_gap_224"]
)
def test_attention_is_what_timm_computes(name, depth):
    """Class token; registers, which are left out; no class token: the mean over patches as queries."""
    backbone = build(name=name, depth=depth, positions="learned")
    images = torch.randn(2, 2, 3, 16, 16)
    (tokens,) = backbone([Request(images, None, "drop", (), attention=True)])
    weights = weights_of_timm(backbone, images.flatten(0, 1))[..., backbone.prefix :].unflatten(0, (2, 2))
    has_class = backbone.net.cls_token is not None
    expected = weights[..., 0, :] if has_class else weights.mean(-2)
    assert tokens.attention.shape == (2, 2, 2, 16)
    assert tokens.attention.dtype == torch.float32
    assert torch.allclose(tokens.attention, expected, atol=1e-6)
    assert (tokens.attention.sum(-1) < 1).all() == (backbone.prefix > 0)


def test_the_keys_and_queries_are_normed_where_the_block_does_so():
    backbone = build(name="vit_base_patch16_224")
    attn = backbone.net.blocks[-1].attn
    attn.q_norm, attn.k_norm = torch.nn.LayerNorm(8), torch.nn.LayerNorm(8)
    images = torch.randn(1, 2, 3, 16, 16)
    (tokens,) = backbone([Request(images, None, "drop", (), attention=True)])
    assert torch.allclose(tokens.attention[0], weights_of_timm(backbone, images[0])[:, :, 0, 1:], atol=1e-6)


def test_attention_changes_no_token_and_is_told_only_where_asked_for():
    backbone = build()
    images = torch.randn(1, 2, 3, 16, 16)
    plain = Request(images, None, "drop", (0, -1))
    both = backbone([plain._replace(attention=True), plain])
    (alone,) = backbone([plain])
    assert both[1].attention is None
    assert alone.attention is None
    pair = backbone([plain, plain])
    assert torch.equal(both[0].patch, pair[0].patch)
    assert all(torch.equal(a, b) for a, b in zip(both[0].layers, pair[0].layers, strict=True))
    assert torch.allclose(both[0].patch, alone.patch, atol=1e-6)


def test_attention_is_float32_under_autocast():
    backbone = build()
    request = Request(torch.randn(1, 2, 3, 16, 16), None, "drop", (), attention=True)
    (exact,) = backbone([request])
    with torch.autocast("cpu", torch.bfloat16):
        (rough,) = backbone([request])
    assert rough.attention.dtype == torch.float32
    assert torch.allclose(rough.attention, exact.attention, atol=0.02)


def test_attention_of_a_masked_pass_is_an_error():
    hidden = torch.zeros(1, 2, 16, dtype=torch.bool)
    mask = Mask(hidden, torch.arange(16).expand(1, 2, 16), torch.arange(0), torch.arange(0))
    with pytest.raises(SpecError, match="attention is told of passes without a mask only"):
        build()([Request(torch.randn(1, 2, 3, 16, 16), mask, "drop", (), attention=True)])


def test_blocks_that_hide_their_attention_are_named():
    backbone = build()
    backbone.net.blocks[-1] = torch.nn.Identity()
    with pytest.raises(SpecError, match="blocks of type Identity do not tell their attention"):
        backbone([Request(torch.randn(1, 2, 3, 16, 16), None, "drop", (), attention=True)])


def test_attention_compiles_in_one_graph_with_the_pass():
    backbone = build()
    request = Request(torch.randn(1, 2, 3, 16, 16), None, "drop", (), attention=True)
    compiled = torch.compile(
        lambda x: backbone([request._replace(image=x)])[0].attention, fullgraph=True, backend="eager"
    )  # torch 2.9.1 fails where all of `Tokens` leaves the graph
    assert torch.allclose(compiled(request.image), backbone([request])[0].attention, atol=1e-6)
