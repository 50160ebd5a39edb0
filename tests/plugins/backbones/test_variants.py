"""Every class and kind of positions that `vit` builds, against timm's own passes."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.beit import Beit
from timm.models.eva import Eva

from sslkit import RandomMasker
from sslkit.core.passes import Encode, Request
from sslkit.errors import SpecError
from sslkit.functional.patches import unpatchify
from sslkit.testing.kit_report import NotOffered
from sslkit.testing.promises.backbone_promises import checks
from tests import tiny
from tests.plugins.backbones.test_attention_layers import weights_of_timm
from tests.plugins.backbones.variants import RELATIVE, VARIANTS, build, random_mask, resized, spec, view

every = pytest.mark.parametrize("variant", VARIANTS)
relative = pytest.mark.parametrize("variant", RELATIVE)


def request(images, mask=None, mode="drop", **more):
    return Request(images, mask, mode, **{"layers": (), **more})


@every
@pytest.mark.parametrize("size", [16, 24, 8])
def test_tokens_equal_timm_at_every_size(variant, size):
    """At sizes other than the one it was built for: tables resampled, angles made anew."""
    backbone = build(variant)
    images = torch.randn(2, 2, 3, size, size)
    (tokens,) = backbone([request(images, layers=(0, -1))])
    net = resized(backbone.net, size)
    features = net.forward_features(images.flatten(0, 1)).unflatten(0, (2, 2))
    patch = features[:, :, backbone.prefix :]
    expected = features[:, :, 0] if net.cls_token is not None else patch.mean(2)
    assert torch.allclose(tokens.patch, patch, atol=2e-5)
    assert torch.allclose(tokens.cls, expected, atol=2e-5)
    _, raw = net.forward_intermediates(images.flatten(0, 1), indices=[0, 1], output_fmt="NLC")
    for layer, wanted in zip(tokens.layers, raw, strict=True):
        assert torch.allclose(layer[:, :, 1:].flatten(0, 1), wanted, atol=2e-5)


@every
@pytest.mark.parametrize("size", [16, 24])
def test_attention_equals_timm(variant, size):
    backbone = build(variant)
    images = torch.randn(1, 3, 3, size, size)
    (tokens,) = backbone([request(images, attention=True)])
    weights = weights_of_timm(backbone, images[0], resized(backbone.net, size))[..., backbone.prefix :]
    expected = weights[:, :, 0] if backbone.net.cls_token is not None else weights.mean(2)
    assert torch.allclose(tokens.attention[0], expected, atol=2e-6)


def blocked(backbone, images, hidden):
    """All patches in timm's blocks, where none attends to the hidden ones: normed tokens `[B, prefix + N, D]`."""
    net = backbone.net
    x = backbone._embed(request(images[None]))
    seen = torch.cat([torch.zeros(len(x), backbone.prefix, dtype=torch.bool), hidden], dim=1)
    closed = torch.zeros(seen.shape).masked_fill(seen, -torch.inf)[:, None, None]
    if isinstance(net, Eva):
        side = images.shape[-1] // backbone.patch
        rope = None if net.rope is None else net.rope.get_embed(shape=[side, side])
        mask = closed.expand(-1, 1, x.shape[1], -1)
        for i, block in enumerate(net.blocks):
            x = block(x, rope=rope[i] if net.rope_mixed else rope, attn_mask=mask)
    elif isinstance(net, Beit):
        for block in net.blocks:
            x = block(x, closed if net.rel_pos_bias is None else net.rel_pos_bias() + closed)
    elif hasattr(net, "shared_rel_pos"):
        for block in net.blocks:
            x = block(x, net.shared_rel_pos.get_bias() + closed)
    else:
        for block in net.blocks:
            x = block(x, attn_mask=closed)
    return net.norm(x)


@every
def test_dropping_patches_is_not_attending_to_them(variant):
    """Visible patches keep their places: each image has a bias and angles of its own."""
    backbone, mask = build(variant), random_mask(1, 3, 16, 6)
    images = torch.randn(3, 3, 16, 16)
    (tokens,) = backbone([request(images[None], mask)])
    whole = blocked(backbone, images, mask.hidden[0])[:, backbone.prefix :]
    expected = whole.gather(1, mask.keep[0][..., None].expand(-1, -1, 16))
    assert torch.allclose(tokens.patch[0], expected, atol=2e-5)


@relative
def test_the_same_patches_at_other_places_are_other_tokens(variant):
    """The same six contents at other places: no more than their distances differs."""
    backbone, contents = build(variant), torch.randn(1, 1, 6, 48)
    answers = []
    for seed in (0, 1):
        mask = random_mask(1, 1, 16, 6, seed)
        patches = torch.zeros(1, 1, 16, 48).scatter(2, mask.keep[..., None].expand(-1, -1, -1, 48), contents)
        answers.append(backbone([request(unpatchify(patches, 4, rows=4), mask)])[0].patch)
    assert not torch.allclose(*answers, atol=1e-3)


@every
def test_requests_of_one_length_but_other_places_are_answered_as_alone(variant):
    backbone, images = build(variant), torch.randn(2, 2, 3, 24, 24)
    small = torch.randn(1, 2, 3, 12, 12)
    requests = [
        request(small),
        request(images, random_mask(2, 2, 36, 9)),
        request(images[:1], random_mask(1, 2, 36, 9, 1)),
        request(images),
        request(images[:, :1], layers=(1,), attention=True),
        request(images[:1, :, :, :16, :16], random_mask(1, 2, 16, 9)),
    ]
    for asked, answer in zip(requests, backbone(requests), strict=True):
        (alone,) = backbone([asked])
        assert torch.allclose(answer.patch, alone.patch, atol=1e-5)
        assert torch.allclose(answer.cls, alone.cls, atol=1e-5)


@pytest.mark.parametrize(
    "variant", ["plain with registers", "beit relative", "eva rotary", "rope of every block"]
)
def test_passes_of_every_kind_compile_in_one_graph_with_the_same_gradients(variant):
    backbone = build(variant, depth=1)
    backbone.serve([Encode("global", mask=RandomMasker(ratio=0.5), mode="token")])
    large, small = torch.randn(1, 2, 3, 16, 16), torch.randn(2, 2, 3, 8, 8)
    mask = random_mask(1, 2, 16, 6)

    def total(large, small, mask):
        plan = [
            request(large, mask),
            request(large, mask, "token"),
            request(small, layers=(0,)),
            request(large),
        ]
        answers = backbone([*plan[:3], plan[3]._replace(attention=True)])
        return sum(a.patch.square().sum() for a in answers) + answers[3].attention.square().sum()

    losses = []
    for run in (total, torch.compile(total, fullgraph=True, dynamic=False, backend="eager")):
        backbone.zero_grad()
        loss = run(large, small, mask)
        loss.backward()
        grads = [p.grad.clone() for p in backbone.parameters() if p.grad is not None]
        losses.append((loss, grads))
    (eager, found), (compiled, again) = losses
    assert torch.allclose(eager, compiled, rtol=1e-5)
    for a, b in zip(found, again, strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-3)
    untrained = [n for n, p in backbone.named_parameters() if p.requires_grad and p.grad is None]
    assert untrained == []


@every
def test_an_export_is_what_timm_loads(variant, tmp_path):
    backbone = build(variant)
    exported = backbone.export()
    path = tmp_path / "backbone.safetensors"
    save_file({k: v.contiguous() for k, v in exported.state.items()}, path)
    net = timm.create_model(exported.architecture, checkpoint_path=str(path), **exported.arguments).eval()
    images = torch.randn(2, 3, 16, 16)
    (tokens,) = backbone([request(images[None])])
    assert torch.allclose(net.forward_features(images)[:, backbone.prefix :], tokens.patch[0], atol=1e-5)
    again = spec(variant, checkpoint=path).build(view())
    state = again.net.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in exported.state.items())


@relative
def test_a_checkpoint_of_another_size_is_resampled(variant, tmp_path):
    """Passes of the loaded network equal those of the saved one on the images that it is loaded for."""
    saved, path = build(variant, size=24), tmp_path / "backbone.safetensors"
    save_file({k: v.contiguous() for k, v in saved.export().state.items()}, path)
    loaded = spec(variant, checkpoint=path).build(view(16)).eval()
    images = torch.randn(1, 2, 3, 16, 16)
    (expected,), (found,) = (net([request(images)]) for net in (saved, loaded))
    assert torch.allclose(found.patch, expected.patch, atol=2e-5)


IN_TRANSFORMERS = {"plain with registers", "dinov3"}
"""Variants that are an architecture of transformers as well."""


@every
def test_the_kit_finds_nothing(variant):
    refused = []
    for name, check in checks(spec(variant)).items():
        try:
            check()
        except NotOffered:
            refused.append(name)
    assert refused == ([] if variant in IN_TRANSFORMERS else ["exports to transformers"])


@relative
@pytest.mark.parametrize("kind", ["mae", "simmim"])
def test_every_variant_trains(variant, kind):
    objective = {"kind": kind, "masker": {"kind": "random", "ratio": 0.5}}
    decoder = {"decoder": tiny.DECODER} if kind == "mae" else {}
    fields = {**spec(variant, init="beit", drop_path=0.1).model_dump(exclude_unset=True), "kind": "vit"}
    _, losses = tiny.steps(tiny.spec(objective={**objective, **decoder}, backbone=fields), 3)
    assert all(0 < loss < 10 for loss in losses)


def test_keys_have_no_bias_in_beit():
    attn = build("beit relative").net.blocks[0].attn
    assert attn.qkv.bias is None
    assert "k_bias" not in dict(attn.named_parameters())
    assert {"q_bias", "v_bias"} <= dict(attn.named_parameters()).keys()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"positions": "relative"}, r"'vit_tiny_patch16_224' has no relative positions in timm; use 'beit_base_"),
        ({"positions": "rotary"}, r"has no rotary positions in timm; use 'eva02_base_patch14_224'"),
        ({"name": "beit_base_patch16_224", "positions": "rotary"}, r"has no rotary positions"),
        ({"name": "beit_base_patch16_224", "registers": 4}, r"backbone\.registers: 'beit_.* has no registers"),
        ({"name": "vit_relpos_base_patch16_224"}, r"has no absolute positions in timm; use 'vit_base_patch16_224'"),
        ({"name": "vit_relpos_base_patch16_224", "positions": "relative", "registers": 1}, "has no registers"),
        ({"name": "eva02_tiny_patch14_224", "positions": "relative"}, r"positions: .* has no relative positions"),
        ({"name": "vit_base_patch16_224_miil", "positions": "relative"}, "has no relative positions"),
    ],
)  # fmt: skip
def test_what_a_network_lacks_is_named_with_one_that_has_it(fields, message):
    with pytest.raises(SpecError, match=message):
        spec("plain with registers", **{"registers": None, "layer_scale": None, **fields}).build(view())


def test_rotation_needs_a_multiple_of_4_in_each_head():
    backbone = {
        "kind": "vit",
        "name": "eva02_tiny_patch14_224",
        "positions": "rotary",
        "width": 12,
        "heads": 2,
    }
    with pytest.raises(SpecError, match="rotary positions need a multiple of 4 for each head, found 12"):
        tiny.spec(backbone={**backbone, "patch": 4, "depth": 1})
