"""All of SimMIM, encoder and objective, against microsoft/SimMIM@d3e29bcac950:models/{simmim,vision_transformer}.py.

The reference's weights fit timm's BEiT under their own names, without `encoder.`:

    encoder.mask_token                          -> mask_token of the backbone
    encoder.rel_pos_bias.relative_position_index   is no weight: it follows from the grid
    encoder.NAME                                -> net.NAME
    decoder.0.{weight, bias}                    -> decoder.linear, in the order of `pixel_shuffle_order`
"""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from sslkit import RandomMasker, SimMIM, ViT
from sslkit.core.context import Env, NetInfo
from sslkit.core.masker import mask_of
from sslkit.core.passes import Request
from sslkit.core.view import Grid, View
from sslkit.functional.patches import pixel_shuffle_order, unpatchify

VIEW = View(32, 1, 3, (0.0,) * 3, (1.0,) * 3)
ENV = Env({"global": VIEW}, {"student": NetInfo(32, 2)}, {"global": Grid(4, 4, 8)})
SPEC = ViT(
    name="beit_base_patch16_224", patch=8, width=32, depth=2, heads=4,
    positions="relative", layer_scale=0.1, init="beit",
)  # fmt: skip
ORDER = pixel_shuffle_order(8, 3)


def named(arrays, prefix):
    """The reference's `prefix` arrays under the names of this library."""
    found = {}
    for key, value in arrays.items():
        name = key.removeprefix(prefix)
        if key == name or name.endswith("relative_position_index"):
            continue
        if name.startswith("decoder.0."):
            found[f"objective.decoder.linear.{name[len('decoder.0.') :]}"] = (
                value.flatten(1)[ORDER] if value.ndim > 1 else value[ORDER]
            )
        else:
            name = name.removeprefix("encoder.")
            found[f"backbone.{name}" if name == "mask_token" else f"backbone.net.{name}"] = value
    return found


@pytest.fixture
def arrays(golden):
    return golden("simmim_forward_tiny")


@pytest.fixture
def model(arrays):
    """Backbone and objective in float64, with the reference's weights and no other."""
    objective = SimMIM(masker=RandomMasker(ratio=0.5)).build(ENV)
    backbone = SPEC.build(VIEW)
    backbone.serve(objective.passes)
    both = torch.nn.ModuleDict({"backbone": backbone, "objective": objective}).double()
    missing, unexpected = both.load_state_dict(named(arrays, "sd."), strict=False)
    assert unexpected == []
    assert all(name.startswith("objective.target.") for name in missing)
    return both


def run(model, arrays, dtype=torch.float64):
    """Tokens, reconstruction `[B, C, H, W]` and the reference's loss, which has 1e-5 in its denominator."""
    mask = mask_of(arrays["mask"].bool().flatten(1)[None], None, 16)
    (tokens,) = model["backbone"]([Request(arrays["imgs"][None].to(dtype), mask, "token", ())])
    pixels = arrays["mask"].sum().double() * 64
    loss = model["objective"]({}, tokens).loss * (pixels / (pixels + 1e-5)).to(dtype)
    return tokens, unpatchify(model["objective"].decoder(tokens), 8, rows=4)[0], loss


@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_encoder_reconstruction_and_loss_equal_the_reference(model, arrays, dtype, error):
    tokens, images, loss = run(model.to(dtype), arrays, dtype)
    z = tokens.patch[0].transpose(1, 2).unflatten(2, (4, 4))
    for found, expected in ((z, arrays["z"]), (images, arrays["rec"]), (loss, arrays["loss"])):
        assert found.dtype == dtype
        assert (found - expected).abs().max() < error * max(1, expected.abs().max())


@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_every_gradient_equals_the_reference(model, arrays, dtype, error):
    run(model.to(dtype), arrays, dtype)[2].backward()
    expected = named(arrays, "grad.")
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    assert len(found) == 39
    for name, grad in found.items():
        assert (grad - expected[name]).abs().max() < error, name


def test_the_reference_weights_load_as_a_checkpoint(arrays, tmp_path):
    path = tmp_path / "simmim.safetensors"
    weights = {k: v.float() for k, v in named(arrays, "sd.").items() if k.startswith("backbone.net.")}
    save_file({k.removeprefix("backbone.net."): v.contiguous() for k, v in weights.items()}, path)
    state = SPEC.model_copy(update={"checkpoint": path}).build(VIEW).state_dict()
    assert all(torch.equal(state[name.removeprefix("backbone.")], value) for name, value in weights.items())


def test_the_first_weights_are_drawn_as_the_reference_draws_them():
    """N(0, .02) cut off at one deviation everywhere (`simmim.py:69`), proj and fc2 of block l by 1 / sqrt(2 l)."""
    backbone = SPEC.model_copy(update={"width": 128, "depth": 3}).build(VIEW)
    backbone.serve(SimMIM().build(ENV).passes)
    net = backbone.net
    cut = 0.02 * 0.5396  # deviation of a normal that is cut off at one
    whole = [backbone.mask_token, net.cls_token, net.patch_embed.proj.weight]
    for block in net.blocks:
        whole += [block.attn.qkv.weight, block.mlp.fc1.weight]
    for number, block in enumerate(net.blocks, start=1):
        whole += [w * (2 * number) ** 0.5 for w in (block.attn.proj.weight, block.mlp.fc2.weight)]
        assert (block.gamma_1 == 0.1).all()
        assert (block.gamma_2 == 0.1).all()
    for weight in whole:
        assert weight.abs().max() <= 0.02 * (1 + 1e-6)
        assert weight.std().item() == pytest.approx(cut, rel=4 / weight.numel() ** 0.5)
    zeros = [p for name, p in net.named_parameters() if name.endswith(("bias", "bias_table"))]
    assert not any(p.any() for p in zeros)
    assert not hasattr(net, "pos_embed") or net.pos_embed is None
