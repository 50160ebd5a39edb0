"""timm's vision transformers behind the Backbone interface."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file

from sslkit import RandomMasker, ViT
from sslkit.core.masker import make_mask
from sslkit.core.passes import Encode, Request
from sslkit.core.view import Grid, View
from sslkit.errors import CheckpointError, SpecError
from sslkit.runtime import seeds
from tests.masks import UNSEEN, on

SMALL = {"name": "vit_tiny_patch16_224", "patch": 4, "width": 16, "depth": 3, "heads": 2}


def view(size=16, channels=3):
    return View(size, 1, channels, (0.5,) * channels, (0.5,) * channels)


def build(size=16, channels=3, **fields):
    return ViT(**{**SMALL, **fields}).build(view(size, channels)).eval()


def mask(views=1, batch=2, patches=16, ratio=0.5):
    grid = Grid(int(patches**0.5), int(patches**0.5), 4)
    rows = torch.arange(views * batch).reshape(views, batch)
    return make_mask(RandomMasker(ratio=ratio).build(*on(grid)), seeds.draw(0, "test", rows=rows), UNSEEN)


@pytest.mark.parametrize("positions", ["sincos", "learned"])
def test_unmasked_tokens_equal_timm(positions):
    backbone = build(positions=positions)
    images = torch.randn(1, 2, 3, 16, 16)
    tokens = backbone([Request(images, None, "drop", ())])[0]
    features = backbone.net.forward_features(images[0])
    assert torch.allclose(tokens.cls[0], features[:, 0], atol=1e-5)
    assert torch.allclose(tokens.patch[0], features[:, 1:], atol=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "vit_small_patch16_224", "vit_base_patch16_224.augreg_in1k", "deit3_small_patch16_224",
        "vit_small_patch14_reg4_dinov2", "vit_base_patch16_gap_224",
    ],
)  # fmt: skip
def test_any_plain_vit_of_timm_encodes_as_timm_does(name):
    """Class token, none of it, registers, positions with and without a class place."""
    backbone = (
        ViT(**{**SMALL, "name": name, "depth": 1}, positions="learned", init="timm").build(view()).eval()
    )
    images = torch.randn(1, 2, 3, 16, 16)
    tokens = backbone([Request(images, None, "drop", ())])[0]
    features = backbone.net.forward_features(images[0])
    assert torch.allclose(tokens.patch[0], features[:, backbone.prefix :], atol=1e-5)
    expected = features[:, 0] if backbone.net.cls_token is not None else features.mean(1)
    assert torch.allclose(tokens.cls[0], expected, atol=1e-5)


def test_drop_mode_leaves_hidden_patches_out():
    backbone, hidden = build(), mask()
    images = torch.randn(1, 2, 3, 16, 16)
    tokens = backbone([Request(images, hidden, "drop", ())])[0]
    assert tokens.patch.shape == (1, 2, 8, 16)
    pixels = hidden.hidden.unflatten(-1, (4, 4)).repeat_interleave(4, -1).repeat_interleave(4, -2)[:, :, None]
    noisy = torch.where(pixels, torch.randn_like(images), images)
    again = backbone([Request(noisy, hidden, "drop", ())])[0]
    assert torch.equal(tokens.patch, again.patch)
    assert torch.equal(tokens.cls, again.cls)


def test_token_mode_keeps_every_place_and_reads_no_hidden_pixel():
    backbone, hidden = build(), mask()
    backbone.serve([Encode("global", mask=RandomMasker(ratio=0.5), mode="token")])
    images = torch.randn(1, 2, 3, 16, 16)
    tokens = backbone([Request(images, hidden, "token", ())])[0]
    assert tokens.patch.shape == (1, 2, 16, 16)
    pixels = hidden.hidden.unflatten(-1, (4, 4)).repeat_interleave(4, -1).repeat_interleave(4, -2)[:, :, None]
    noisy = torch.where(pixels, torch.randn_like(images), images)
    assert torch.equal(tokens.patch, backbone([Request(noisy, hidden, "token", ())])[0].patch)
    tokens.patch.sum().backward()
    assert backbone.mask_token.grad is not None


def test_the_mask_token_exists_only_where_a_pass_uses_it():
    backbone = build()
    backbone.serve([Encode("global", mask=RandomMasker(ratio=0.5), mode="drop"), Encode("global")])
    assert backbone.mask_token is None


def test_requests_of_several_sizes_and_masks_are_answered_in_order():
    backbone, hidden = build(), mask()
    small, large = torch.randn(3, 2, 3, 8, 8), torch.randn(1, 2, 3, 16, 16)
    requests = [
        Request(small, None, "drop", ()),
        Request(large, hidden, "drop", ()),
        Request(large, None, "drop", ()),
    ]
    together = backbone(requests)
    for request, answer in zip(requests, together, strict=True):
        alone = backbone([request])[0]
        assert answer.cls.shape[:2] == request.image.shape[:2]
        assert torch.allclose(answer.patch, alone.patch, atol=1e-5)
        assert torch.allclose(answer.cls, alone.cls, atol=1e-5)


def test_requests_of_equal_length_share_one_batch():
    backbone = build()
    calls = []
    backbone.net.blocks[0].register_forward_hook(lambda module, args, out: calls.append(len(args[0])))
    images = torch.randn(2, 2, 3, 16, 16)
    backbone([Request(images, None, "drop", ()), Request(images[:1], None, "drop", ())])
    assert calls == [6]


def test_layers_are_raw_block_outputs():
    backbone = build()
    images = torch.randn(1, 2, 3, 16, 16)
    tokens = backbone([Request(images, None, "drop", (0, -1))])[0]
    assert [x.shape for x in tokens.layers] == [(1, 2, 17, 16)] * 2
    assert torch.allclose(backbone.net.norm(tokens.layers[1][:, :, 0]), tokens.cls, atol=1e-6)
    assert not torch.allclose(tokens.layers[0], tokens.layers[1])


def test_a_layer_that_does_not_exist_is_an_error():
    with pytest.raises(SpecError, match=r"layer 3 does not exist: .* has 3 blocks"):
        build()([Request(torch.randn(1, 1, 3, 16, 16), None, "drop", (3,))])


def test_sincos_positions_are_fixed_and_learned_ones_are_not():
    assert not build(positions="sincos").net.pos_embed.requires_grad
    assert build(positions="learned").net.pos_embed.requires_grad


def test_mae_initialization():
    """Xavier-uniform linear layers and patch kernel, zero biases, N(0, 0.02) class token (PARITY: MAE)."""
    net = build(width=64).net
    qkv = net.blocks[0].attn.qkv
    bound = (6 / (64 + 192)) ** 0.5
    assert qkv.weight.abs().max() <= bound
    assert qkv.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
    assert not qkv.bias.any()
    assert net.patch_embed.proj.weight.abs().max() <= (6 / (64 + 48)) ** 0.5
    assert 0.01 < net.cls_token.std().item() < 0.03


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_checkpoint_brings_back_the_weights(tmp_path, channels, suffix):
    one = build(channels=channels)
    path = tmp_path / f"weights{suffix}"
    state = {k: v.clone() for k, v in one.export().state.items()}
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    torch.manual_seed(1)
    two = build(channels=channels, checkpoint=path)
    assert all(
        torch.equal(a, b)
        for a, b in zip(one.net.state_dict().values(), two.net.state_dict().values(), strict=True)
    )


def test_an_export_is_what_timm_loads(tmp_path):
    backbone = build()
    exported = backbone.export()
    path = tmp_path / "backbone.safetensors"
    save_file(dict(exported.state), path)
    net = timm.create_model(exported.architecture, checkpoint_path=str(path), **exported.arguments).eval()
    images = torch.randn(2, 3, 16, 16)
    tokens = backbone([Request(images[None], None, "drop", ())])[0]
    assert torch.allclose(net.forward_features(images)[:, 0], tokens.cls[0], atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"name": "vit_tinny_patch16_224"},
            r"has no model 'vit_tinny_patch16_224'\. Did you mean 'vit_tiny_patch16_224'",
        ),
        ({"name": "resnet18", "patch": None, "width": None, "depth": None, "heads": None}, "resnet18"),
        ({"width": 18, "heads": 4}, "timm cannot build"),
    ],
)
def test_networks_that_cannot_be_built_are_named(fields, message):
    with pytest.raises(SpecError, match=message):
        build(**fields)


def test_a_checkpoint_of_another_shape_is_an_error(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(dict(build(width=32).export().state), path)
    with pytest.raises(
        CheckpointError, match=r"(?s)weights\.safetensors, under timm's names, does not fit"
    ) as caught:
        build(checkpoint=path)
    lines = str(caught.value).splitlines()
    assert lines[1].startswith(
        "  of another shape 42: cls_token (1 x 1 x 32 in the file, 1 x 1 x 16 in the network)"
    )
    assert (
        "`name: vit_base_patch16_224, patch: 4, width: 32, depth: 3, heads: HEADS, positions: sincos"
        in lines[-1]
    )


def test_a_damaged_checkpoint_is_an_error(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"\x10\x00")
    with pytest.raises(
        CheckpointError, match=r"weights\.safetensors: it is no file of weights, or a damaged one"
    ):
        build(checkpoint=path)


@pytest.mark.parametrize(("size", "hint"), [(18, "16 or 20"), (3, "4")])
def test_the_patch_must_divide_the_image(size, hint):
    with pytest.raises(
        SpecError, match=f"patch 4 does not divide the image size {size}; use an image size of {hint}"
    ):
        ViT(**SMALL).grid(size)


def test_the_patch_comes_from_the_name():
    assert ViT(name="vit_base_patch16_224").grid(224) == Grid(14, 14, 16)
    assert ViT(name="vit_base_patch16_224", patch=8).grid(32) == Grid(4, 4, 8)
