"""Image towers of CLIP and SigLIP, ResNets of methods, bias tables, and sizes that change with a file of weights."""

from __future__ import annotations

import re

import pytest
import timm
import torch
from timm.layers import resample_abs_pos_embed, resample_patch_embed
from torch.nn.functional import interpolate

from sslkit import CNN, Timm, ViT
from sslkit.core.masker import mask_of
from sslkit.errors import CheckpointError, SpecError
from sslkit_backbones.public_weights.fitting_name import fitting_name
from tests.plugins.backbones.public_layouts import (
    FIELDS,
    WIDTH,
    answer,
    authors,
    images,
    loaded,
    network,
    notes_of,
    others,
    prefixed,
    require_equal,
    view,
)

CLIP = ViT(name="vit_base_patch16_clip_224", positions="learned", activation="quick_gelu", **FIELDS)
SIGLIP = ViT(name="vit_base_patch16_siglip_224", positions="learned", activation="gelu_tanh", **FIELDS)
DINO = ViT(name="vit_small_patch16_224", positions="learned", **FIELDS)
_OPENAI = (
    (r"^embeddings\.patch_embedding\.", "conv1."),
    (r"^embeddings\.class_embedding$", "class_embedding"),
    (r"^embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"^encoder\.layers\.", "transformer.resblocks."),
    (r"^pre_layrnorm\.", "ln_pre."),
    (r"^post_layernorm\.", "ln_post."),
    (r"layer_norm(\d)", r"ln_\1"),
    (r"mlp\.fc1", "mlp.c_fc"),
    (r"mlp\.fc2", "mlp.c_proj"),
    (r"self_attn\.out_proj", "attn.out_proj"),
)


def openai(state):
    """A whole CLIP under OpenAI's names, which are open_clip's, the text's transformer included."""
    named = {}
    for name, value in state.items():
        for pattern, replacement in _OPENAI:
            name = re.sub(pattern, replacement, name)
        named[name] = value
    for block in sorted({name.split(".self_attn.")[0] for name in named if ".self_attn." in name}):
        for kind in ("weight", "bias"):
            parts = [named.pop(f"{block}.self_attn.{part}_proj.{kind}") for part in "qkv"]
            named[f"{block}.attn.in_proj_{kind}"] = torch.cat(parts)
    text = {n: v for n, v in others(named).items() if n.startswith("transformer.")}
    projections = {
        "visual.proj": torch.ones(WIDTH, 8),
        "text_projection": torch.ones(8, 8),
        "logit_scale": torch.ones(()),
    }
    return {**prefixed(named, "visual."), **text, **projections}


@pytest.mark.parametrize("half", [False, True])
def test_clip_of_openai_and_open_clip(tmp_path, half):
    public = network("clip")
    state = openai(public.state)
    torch.save({"state_dict": {n: v.half() if half else v for n, v in state.items()}}, tmp_path / "clip.pt")
    net = loaded(CLIP, tmp_path / "clip.pt")
    if half:
        assert all(p.dtype == torch.float32 for p in net.parameters())
        difference = (answer(net).patch[0] - public.hidden[:, 1:]).abs().max() / public.hidden.abs().max()
        assert 1e-5 < difference < 1e-2
    else:
        require_equal(net, public.hidden)
    notes = notes_of(net)
    assert "under CLIP's names" in notes
    assert "taken from `state_dict`, `visual`" in notes
    assert "OpenAI's need `quick_gelu`" in notes
    assert (
        "transformer (24 arrays), text_projection (1 arrays), logit_scale (1 arrays), head (1 arrays)"
        in notes
    )


@pytest.mark.parametrize("prefix", ["", "vision_model."])
def test_clip_of_hugging_face(tmp_path, prefix):
    """A tower alone, and inside a whole CLIP with its text."""
    public = network("clip")
    text = {"text_model.embeddings.token_embedding.weight": torch.ones(2)} if prefix else {}
    public = public._replace(state={**prefixed(public.state, prefix), **text})
    net = loaded(CLIP, public.folder(tmp_path))
    require_equal(net, public.hidden)
    assert ("text_model (1 arrays)" in notes_of(net)) == bool(prefix)


def test_an_activation_that_differs_is_refused_where_the_file_tells_it(tmp_path):
    folder = network("clip").folder(tmp_path / "clip")
    with pytest.raises(
        CheckpointError, match="its activation is `quick_gelu`, the network's `gelu`: set `activation: q"
    ):
        loaded(CLIP, folder, activation=None)
    require_equal(
        loaded(CLIP, folder, name="vit_base_patch16_clip_quickgelu_224", activation=None),
        network("clip").hidden,
    )
    with pytest.raises(SpecError, match=r"backbone\.activation: 'beit_base_patch16_224' has one of its own"):
        CLIP.model_copy(update={"name": "beit_base_patch16_224"}).build(view())


def test_siglip_of_hugging_face(tmp_path):
    """No class token: it is the mean of the patches, or attention pooling where timm reads the network."""
    public = network("siglip")
    folder = public.folder(tmp_path)
    net, largest = loaded(SIGLIP, folder), public.hidden.abs().max()
    tokens = answer(net)
    assert ((tokens.patch[0] - public.hidden) / largest).abs().max() < 1e-5
    assert ((tokens.cls[0] - public.hidden.mean(1)) / largest).abs().max() < 1e-5
    assert "left out: head (11 arrays)" in notes_of(net)
    arguments = {
        "img_size": 16, "patch_size": 4, "embed_dim": WIDTH, "depth": 2, "num_heads": 4, "act_layer": "gelu_tanh",
    }  # fmt: skip
    pooled = loaded(Timm(name="vit_base_patch16_siglip_224", arguments=arguments), folder)
    assert ((answer(pooled).cls[0] - public.pooled) / public.pooled.abs().max()).abs().max() < 1e-5
    assert "left out" not in notes_of(pooled)


def test_a_timm_tower_in_open_clip(tmp_path):
    """SigLIP and EVA-CLIP of open_clip keep timm's names behind `visual.trunk`."""
    theirs = SIGLIP.build(view()).eval()
    state = {**prefixed(theirs.net.state_dict(), "visual.trunk."), "text.cls_emb": torch.ones(2)}
    torch.save(state, tmp_path / "open_clip.pt")
    net = loaded(SIGLIP, tmp_path / "open_clip.pt")
    assert torch.equal(answer(net).patch, answer(theirs).patch)
    assert "taken from `visual.trunk`" in notes_of(net)


def lightly(state, empty):
    """`Sequential(*children)`, in which activation and pooling have numbers where a network has them as parts."""
    first = 4 if empty else 2
    names = {"conv1": "0", "bn1": "1", **{f"layer{n}": str(first + n - 1) for n in (1, 2, 3, 4)}}
    behind = {f"backbone.{names[n.partition('.')[0]]}.{n.partition('.')[2]}": v for n, v in state.items()}
    return {"state_dict": {**behind, "projection_head.layers.0.weight": torch.ones(2, 2)}}


def moco_v2(state):
    named = {**prefixed(state, "module.encoder_q."), **prefixed(others(state), "module.encoder_k.")}
    return {
        "state_dict": {**named, "module.encoder_q.fc.0.weight": torch.ones(2), "module.queue": torch.ones(2)}
    }


@pytest.fixture(scope="module")
def resnet():
    """Weights of timm's ResNet-18 under torchvision's names, and its last map of 32 pixels, `[2, 1, 512]`."""
    torch.manual_seed(0)
    net = timm.create_model("test_resnet", num_classes=0, global_pool="").eval()
    with torch.no_grad():
        for norm in (module for module in net.modules() if hasattr(module, "running_mean")):
            norm.running_mean.normal_()
            norm.weight.normal_()
        return net.state_dict(), net(interpolate(images(), size=32)).flatten(2).mT


@pytest.mark.parametrize(
    ("layout", "sentence"),
    [
        (
            lambda state: {**state, "fc.weight": torch.ones(2), "fc.bias": torch.ones(2)},
            "left out: head (2 arrays)",
        ),
        (moco_v2, "under MoCo's names"),
        (lambda state: lightly(state, True), "under lightly's names"),
        (lambda state: lightly(state, False), "left out: projection_head (1 arrays)"),
        (
            lambda state: {
                "state_dict": {
                    **prefixed(state, "backbone."),
                    **prefixed(others(state), "momentum_backbone."),
                }
            },
            "momentum_backbone (",
        ),
    ],
)
def test_residual_networks_of_methods(tmp_path, resnet, layout, sentence):
    """Names are torchvision's, which are timm's."""
    state, expected = resnet
    torch.save(layout(state), tmp_path / "net.pth.tar")
    net = loaded(CNN(name="test_resnet"), tmp_path / "net.pth.tar", 32)
    torch.testing.assert_close(answer(net, 32).patch[0], expected)
    assert sentence in notes_of(net)


def test_a_residual_network_that_timm_reads(tmp_path, resnet):
    torch.save(moco_v2(resnet[0]), tmp_path / "net.pth.tar")
    net = loaded(Timm(name="test_resnet"), tmp_path / "net.pth.tar", 32)
    torch.testing.assert_close(answer(net, 32).patch[0], resnet[1])
    assert f"left out: encoder_k ({len(resnet[0])} arrays), queue (1 arrays), head (1 arrays)" in notes_of(
        net
    )


@pytest.mark.parametrize(
    ("blocks", "bottleneck", "side", "fields"),
    [
        ((2, 2, 2, 2), False, 7, "name: resnet18"),
        ((3, 4, 6, 3), True, 7, "name: resnet50"),
        ((2, 2, 2, 2), False, 3, "name: resnet18, stem: cifar"),
        ((9, 9, 9, 9), False, 7, None),
    ],
)
def test_another_residual_network_is_named_by_its_blocks(blocks, bottleneck, side, fields):
    names = [f"layer{n}.{i}.conv1.weight" for n, count in enumerate(blocks, start=1) for i in range(count)]
    names += [name.replace("conv1", "conv3") for name in names] if bottleneck else []
    state = {"conv1.weight": torch.ones(2, 3, side, side), **dict.fromkeys(names, torch.ones(1))}
    assert fitting_name(state) == fields


@pytest.mark.parametrize("table", ["rel_pos_bias", "blocks.0.attn"])
def test_bias_tables_of_beit(tmp_path, table):
    """The table that all blocks share goes to each block of a network that has several; not the other way."""
    arguments = {
        "img_size": 16,
        "patch_size": 4,
        "embed_dim": 16,
        "depth": 2,
        "num_heads": 2,
        "global_pool": "token",
    }
    shared = {"use_rel_pos_bias": False, "use_shared_rel_pos_bias": True}
    torch.manual_seed(0)
    theirs = Timm(name="beit_base_patch16_224", arguments={**arguments, **shared}).build(view()).eval()
    state = dict(theirs.module.state_dict())
    name = "rel_pos_bias.relative_position_bias_table"
    state[name] = torch.randn_like(state[name])
    theirs.module.load_state_dict(state)
    if table == "blocks.0.attn":
        bias = state.pop(name)
        state |= {f"blocks.{n}.attn.relative_position_bias_table": bias for n in (0, 1)}
    beside = {"mask_token": torch.ones(1, 1, 16), "lm_head.weight": torch.ones(2)}
    torch.save({"model": {**state, **beside}}, tmp_path / "beit.pth")
    net = loaded(Timm(name="beit_base_patch16_224", arguments=arguments), tmp_path / "beit.pth")
    torch.testing.assert_close(answer(net).patch, answer(theirs).patch)
    assert "under BEiT's or SimMIM's names" in notes_of(net)
    assert "left out: head (1 arrays), mask token" in notes_of(net)
    assert ("shared by all blocks" in notes_of(net)) == (table == "rel_pos_bias")
    vit = ViT(
        name="beit_base_patch16_224",
        positions="relative",
        layer_scale=0.1,
        patch=4,
        width=16,
        depth=2,
        heads=2,
    )
    if table == "rel_pos_bias":
        torch.testing.assert_close(answer(loaded(vit, tmp_path / "beit.pth")).patch, answer(theirs).patch)
    else:
        with pytest.raises(
            CheckpointError, match=r"the file lacks 1: rel_pos_bias\.relative_position_bias_table"
        ):
            loaded(vit, tmp_path / "beit.pth")


def test_sizes_and_channels_change_as_timm_changes_them_and_are_named(tmp_path):
    state = authors(network("vit").state)
    torch.save(state, tmp_path / "vit.pth")
    net = loaded(DINO, tmp_path / "vit.pth", 32, channels=1, patch=8)
    same = loaded(DINO, tmp_path / "vit.pth", 24)
    weights = net.net.state_dict()
    kernel = resample_patch_embed(state["patch_embed.proj.weight"], [8, 8]).sum(1, keepdim=True)
    torch.testing.assert_close(weights["patch_embed.proj.weight"], kernel)
    assert torch.equal(weights["pos_embed"], state["pos_embed"])
    assert (
        "resized: patch kernel from 4 x 4 to 8 x 8 pixels; patch_embed.proj from 3 to 1 channels"
        in notes_of(net)
    )
    wanted = resample_abs_pos_embed(state["pos_embed"], [6, 6], [4, 4], 1)
    torch.testing.assert_close(same.net.state_dict()["pos_embed"], wanted)
    assert "resized: positions from 4 x 4 to 6 x 6 patches" in notes_of(same)


def test_hidden_patches_leave_the_others_the_tokens_of_a_cut_sequence(tmp_path):
    """`drop` after loading: registers, folded positions and all."""
    public = network("dinov2_registers")
    fields = {"name": "vit_small_patch14_reg4_dinov2"}
    net = loaded(ViT(positions="learned", **{**FIELDS, **fields}), public.folder(tmp_path))
    hidden = torch.zeros(1, 2, 16, dtype=torch.bool)
    hidden[..., 5:] = True
    tokens = answer(net, mask=mask_of(hidden, 5, 11))
    with torch.no_grad():
        x = net.net.patch_embed(images()) + net.net.pos_embed
        front = torch.cat([net.net.cls_token, net.net.reg_token], 1).expand(2, -1, -1)
        x = net.net.norm(net.net.blocks(torch.cat([front, x[:, :5]], 1)))
    torch.testing.assert_close(tokens.patch[0], x[:, 5:])
    torch.testing.assert_close(tokens.cls[0], x[:, 0])


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"optimizer": {"lr": 1.0}, "epoch": 3}, "it holds no weights, but 'lr'"),
        ({}, "it holds no weights, but nothing"),
        ([torch.ones(2)], "it is no file of weights, or a damaged one"),
        (
            {"text": {"ln.weight": torch.ones(2)}},
            r"(?s)under timm's names, does not fit.*the file lacks 3\d: cls_token",
        ),
    ],
)
def test_files_without_weights_say_so(tmp_path, contents, message):
    torch.save(contents, tmp_path / "file.pth")
    with pytest.raises(CheckpointError, match=message):
        loaded(DINO, tmp_path / "file.pth")


def test_a_script_is_not_run(tmp_path):
    """OpenAI's own files of CLIP are TorchScript."""
    torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)).save(tmp_path / "clip.pt")
    with pytest.raises(
        CheckpointError, match="is a TorchScript archive, which holds code, so that it is not loaded"
    ):
        loaded(CLIP, tmp_path / "clip.pt")


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (
            "dinov2",
            "`name: vit_base_patch14_dinov2, patch: 4, width: 48, depth: 2, heads: HEADS, positions: learned",
        ),
        ("dinov2_registers", "`name: vit_base_patch14_reg4_dinov2, patch: 4, "),
        ("dinov3", "`name: vit_base_patch16_dinov3, patch: 4, "),
        ("clip", "`name: vit_base_patch16_clip_224, patch: 4, "),
        ("siglip", "`name: vit_base_patch16_siglip_224, patch: 4, "),
    ],
)
def test_a_name_that_would_fit_is_told(tmp_path, kind, fields):
    folder = network(kind).folder(tmp_path / kind)
    with pytest.raises(CheckpointError, match=r"does not fit 'vit_small_patch16_224'") as caught:
        loaded(DINO, folder)
    assert fields in str(caught.value).splitlines()[-1]
