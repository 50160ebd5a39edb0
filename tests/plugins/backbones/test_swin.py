"""Timm's Swin transformers behind the Backbone interface, as SimMIM uses them."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from safetensors.torch import save_file

from sslkit import RandomMasker, SimMIM, Swin
from sslkit.core.context import Env, NetInfo
from sslkit.core.passes import Encode, Request
from sslkit.core.view import Grid
from sslkit.errors import SpecError
from tests import tiny
from tests.plugins.backbones.variants import perturbed, random_mask, view

SMALL = {"patch": 2, "width": 8, "depths": (2, 2, 2), "heads": (1, 2, 2), "window": 2}
NAMES = ["swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"]
TOKEN = [Encode("global", mask=RandomMasker(ratio=0.5), mode="token")]
both = pytest.mark.parametrize("name", NAMES)


def build(size=32, **fields):
    """Stages of 16, 8 and 4 tokens a side, the last one of 8 pixels each."""
    net = Swin(**{"name": NAMES[0], **SMALL, **fields}).build(view(size))
    net.serve(TOKEN)
    return perturbed(net)


def request(images, mask=None, mode="token", layers=()):
    return Request(images, mask, mode, layers)


@both
@pytest.mark.parametrize("size", [32, 16])
def test_tokens_and_layers_equal_timm(name, size):
    """Tokens of the last stage; their mean is the class token; layers are the last stage's blocks before the norm."""
    net = build(name=name)
    images = torch.randn(2, 2, 3, size, size)
    (tokens,) = net([request(images, layers=(0, -1))])
    features = net.net.forward_features(images.flatten(0, 1)).flatten(1, 2).unflatten(0, (2, 2))
    assert tokens.patch.shape == (2, 2, (size // 8) ** 2, 32)
    assert torch.allclose(tokens.patch, features, atol=1e-5)
    assert torch.allclose(tokens.cls, features.mean(2), atol=1e-5)
    raw = net.net.forward_intermediates(images.flatten(0, 1), indices=[2], intermediates_only=True)[0]
    assert torch.allclose(tokens.layers[1][:, :, 1:].flatten(0, 1), raw.flatten(2).mT, atol=1e-5)
    assert torch.allclose(tokens.layers[1][:, :, 0], tokens.layers[1][:, :, 1:].mean(2), atol=1e-5)
    assert not torch.allclose(tokens.layers[0], tokens.layers[1])
    assert net.depth == 2


@both
def test_the_mask_token_stands_for_all_first_patches_of_a_hidden_token(name):
    """As SimMIM: after the embedding's norm, on every small patch of the unit."""
    net, mask = build(name=name), random_mask(1, 2, 16, 6)
    images = torch.randn(1, 2, 3, 32, 32)
    (tokens,) = net([request(images, mask)])
    x = net.net.patch_embed(images[0])
    for image, hidden in enumerate(mask.hidden[0].unflatten(-1, (4, 4))):
        for row, col in hidden.nonzero().tolist():
            x[image, 4 * row : 4 * row + 4, 4 * col : 4 * col + 4] = net.mask_token
    expected = net.net.norm(net.net.layers(x)).flatten(1, 2)
    assert torch.allclose(tokens.patch[0], expected, atol=1e-5)


def test_the_mask_token_is_that_of_the_reference():
    """N(0, .02) (`simmim.py:24`), of one dimension: without weight decay (`simmim.py:53`). Only where it is used."""
    net = Swin(patch=2, width=512, depths=(1,), heads=(1,), window=2).build(view(8))
    net.serve([Encode("global")])
    assert net.mask_token is None
    net.serve(TOKEN)
    assert net.mask_token.shape == (512,)
    assert net.mask_token.std().item() == pytest.approx(0.02, rel=0.15)


def test_requests_of_several_sizes_are_answered_in_order():
    net, mask = build(), random_mask(1, 2, 16, 6)
    large, small = torch.randn(1, 2, 3, 32, 32), torch.randn(3, 2, 3, 16, 16)
    requests = [request(small), request(large, mask), request(large, layers=(1,))]
    for asked, answer in zip(requests, net(requests), strict=True):
        (alone,) = net([asked])
        assert answer.patch.shape[:2] == asked.image.shape[:2]
        assert torch.allclose(answer.patch, alone.patch, atol=1e-5)
        assert len(answer.layers) == len(asked.layers)


@both
def test_it_compiles_in_one_graph(name):
    net, mask = build(8, name=name, depths=(2,), heads=(1,)), random_mask(1, 2, 16, 6)

    def total(large, small):
        answers = net([request(large, mask), request(small, layers=(-1,))])
        return sum(a.patch.square().sum() for a in answers)

    images = torch.randn(1, 2, 3, 8, 8), torch.randn(2, 2, 3, 4, 4)
    compiled = torch.compile(total, fullgraph=True, dynamic=False, backend="eager")
    assert torch.allclose(compiled(*images), total(*images), rtol=1e-5)


@both
def test_an_export_is_what_timm_loads(name, tmp_path):
    net, path = build(name=name), tmp_path / "backbone.safetensors"
    exported = net.export()
    save_file({k: v.contiguous() for k, v in exported.state.items()}, path)
    again = timm.create_model(exported.architecture, checkpoint_path=str(path), **exported.arguments).eval()
    images = torch.randn(2, 3, 32, 32)
    (tokens,) = net([request(images[None])])
    assert torch.allclose(again.forward_features(images).flatten(1, 2), tokens.patch[0], atol=1e-5)
    loaded = Swin(**{"name": name, **SMALL}, checkpoint=path).build(view(32)).net.state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in exported.state.items())


def test_biases_of_a_checkpoint_fit_other_windows(tmp_path):
    net, path = build(window=4), tmp_path / "backbone.safetensors"
    save_file({k: v.contiguous() for k, v in net.export().state.items()}, path)
    table = "layers.0.blocks.0.attn.relative_position_bias_table"
    found = Swin(**{"name": NAMES[0], **SMALL}, checkpoint=path).build(view(32)).net.state_dict()[table]
    whole = net.net.state_dict()[table].unflatten(0, (7, 7))
    assert found.shape == (9, 1)
    assert torch.allclose(found.unflatten(0, (3, 3))[1, 1], whole[3, 3])  # distance 0
    assert torch.allclose(found.unflatten(0, (3, 3))[1, 2], whole[3, 4])  # its neighbor


def test_simmim_trains_and_predicts_units_of_the_last_stage():
    backbone = {
        "kind": "swin",
        "name": NAMES[0],
        **SMALL,
        "depths": [1, 2],
        "heads": [1, 2],
        "drop_path": 0.1,
    }
    objective = {"kind": "simmim", "masker": {"kind": "random", "ratio": 0.5}}
    composed, losses = tiny.steps(tiny.spec(objective=objective, backbone=backbone), 3)
    assert all(0 < loss < 10 for loss in losses)
    net = composed.system.nets["student"]
    assert composed.env.grid("global") == Grid(2, 2, 4)
    assert next(iter(composed.system.objectives.values())).decoder.linear.out_features == 4 * 4
    decayed = {id(p) for g in composed.step.optimizer.param_groups if g["decay"] for p in g["params"]}
    assert id(net.mask_token) not in decayed


def test_the_head_predicts_32_pixels_where_the_reference_does():
    grid = Swin().grid(192)
    env = Env({"global": view(192)}, {"student": NetInfo(1024, 2)}, {"global": grid})
    assert grid == Grid(6, 6, 32)
    assert SimMIM().build(env).decoder.linear.out_features == 32 * 32 * 3


def test_leaving_patches_out_is_refused_when_the_run_is_built():
    backbone = {"kind": "swin", "name": NAMES[0], **SMALL, "depths": [1, 2], "heads": [1, 2]}
    with pytest.raises(SpecError, match=r"'swin' cannot leave hidden patches out.*'simmim', or a 'vit'"):
        tiny.steps(tiny.spec(backbone=backbone), 0)
    net = copy.deepcopy(build())
    with pytest.raises(SpecError, match="cannot leave hidden patches out"):
        net([request(torch.randn(1, 2, 3, 32, 32), random_mask(1, 2, 16, 6), "drop")])


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        ({"layers": (2,)}, "layer 2 does not exist: the last stage of swin_.* has 2 blocks"),
        ({"attention": True}, "attends within windows, so no token attends to all; use a 'vit'"),
    ],
)
def test_what_windows_cannot_tell_is_refused(ask, message):
    with pytest.raises(SpecError, match=message):
        build()([request(torch.randn(1, 1, 3, 32, 32))._replace(**ask)])


@pytest.mark.parametrize(
    ("fields", "size", "message"),
    [
        (
            {"window": 3},
            32,
            r"windows of 3 do not divide the 16 x 16 tokens of stage 0 .* set `window` to 2 or 4 or",
        ),
        ({}, 36, "last stage of 8 pixels does not divide the image size 36; use an image size of 32 or 40"),
        ({"name": "swinv2_cr_tiny_224"}, 32, "timm cannot build|is a SwinTransformerV2Cr"),
        ({"name": "swin_tinny_patch4_window7_224"}, 32, "Did you mean 'swin_tiny_patch4_window7_224'"),
        ({"heads": (1, 2, 5)}, 32, "5 heads do not divide the width 32 of stage 2"),
    ],
)
def test_networks_that_cannot_be_built_are_named(fields, size, message):
    with pytest.raises(SpecError, match=message):
        Swin(**{"name": NAMES[0], **SMALL, **fields}).build(view(size))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"heads": [1, 2]}, "2 numbers for 3 stages; give one for each"),
        ({"heads": [1, 3, 2]}, "3 heads do not divide the width 16 of stage 1"),
        ({"checkpoint": "missing.safetensors"}, "no file missing.safetensors"),
    ],
)
def test_stages_must_agree_before_anything_is_built(fields, message):
    with pytest.raises(SpecError, match=message):
        tiny.spec(backbone={"kind": "swin", "name": NAMES[0], **SMALL, **fields})
