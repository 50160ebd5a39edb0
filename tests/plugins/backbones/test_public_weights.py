"""Weights in the layouts of public files give the tokens that transformers computed of them (`public_layouts.npz`)."""

from __future__ import annotations

import argparse
import json

import pytest
import torch
from safetensors.torch import save_file

from sslkit import ViT
from sslkit.core.passes import Encode
from sslkit.errors import CheckpointError
from tests.plugins.backbones.public_layouts import (
    FIELDS,
    WIDTH,
    authors,
    loaded,
    network,
    notes_of,
    others,
    prefixed,
    require_equal,
)

DINO = ViT(name="vit_small_patch16_224", positions="learned", **FIELDS)
DINOV2 = ViT(name="vit_small_patch14_dinov2", positions="learned", **FIELDS)
DINOV3 = ViT(name="vit_small_patch16_dinov3", positions="rotary", **FIELDS)


def dinov2_training(state):
    """A teacher's checkpoint: blocks stand in chunks, numbered through."""
    chunked = {
        n.replace("blocks.0.", "blocks.0.0.").replace("blocks.1.", "blocks.1.1."): v for n, v in state.items()
    }
    teacher = {**prefixed(chunked, "backbone."), "dino_head.mlp.0.weight": torch.ones(3, 3)}
    return {"teacher": teacher, "optimizer": {"state": {}}, "iteration": 3}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("name", "registers"),
    [
        ("vit_small_patch14_dinov2", 0),
        ("vit_small_patch14_reg4_dinov2", 4),
        ("vit_small_patch14_dinov2", 4),  # with positions for registers, which the file has none for
    ],
)
def test_dinov2s_own_files(tmp_path, name, registers, training):
    public = network("dinov2_registers" if registers else "dinov2")
    state = authors(public.state)
    torch.save(dinov2_training(state) if training else state, tmp_path / "dinov2.pth")
    net = loaded(DINOV2, tmp_path / "dinov2.pth", name=name, registers=registers or None)
    require_equal(net, public.hidden, registers)
    assert "dinov2.pth, under DINOv2's names: " in notes_of(net)
    if training:
        assert "taken from `teacher`, `backbone`" in notes_of(net)
        assert "left out: optimizer, iteration, dino_head (1 arrays), mask token" in notes_of(net)


@pytest.mark.parametrize(
    ("kind", "name", "registers"),
    [
        ("dinov2", "vit_small_patch14_dinov2", 0),
        ("dinov2_registers", "vit_small_patch14_reg4_dinov2", 4),
        ("dinov2_swiglu", "vit_giant_patch14_dinov2", 0),
    ],
)
@pytest.mark.parametrize("authors_names", [False, True])
def test_every_form_of_dinov2(tmp_path, kind, name, registers, authors_names):
    public = network(kind)
    path = public.folder(tmp_path / "folder")
    if authors_names:
        path = tmp_path / "dinov2.pth"
        torch.save(authors(public.state), path)
    net = loaded(DINOV2, path, name=name)
    require_equal(net, public.hidden, registers)
    assert ("DINOv2's" if authors_names else "Hugging Face's (ViT, MAE, DINOv2)") in notes_of(net)


def dinov3_official(state):
    """Meta's file: joint biases, of which a mask takes those of keys, and periods of the rotation."""
    named = authors(state)
    named["storage_tokens"] = named.pop("register_tokens")
    for name in [name for name in named if name.endswith("qkv.weight")]:
        q, k, v = named.get(name.replace("weight", "bias"), torch.zeros(3 * WIDTH)).chunk(3)
        named[name.replace("weight", "bias")] = torch.cat([q, torch.full_like(k, float("nan")), v])
        mask = torch.ones(3, WIDTH)
        mask[1] = 0
        named[name.replace("weight", "bias_mask")] = mask.flatten()
    return {**named, "rope_embed.periods": torch.ones(3)}


@pytest.mark.parametrize("official", [True, False])
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("dinov3", "vit_small_patch16_dinov3_qkvb"),
        ("dinov3_unbiased", "vit_small_patch16_dinov3"),
        ("dinov3_gated", "vit_small_plus_patch16_dinov3_qkvb"),
    ],
)
def test_dinov3(tmp_path, kind, name, official):
    """A mask takes the biases of keys, whatever they are; a file of zeros fits timm's networks without biases."""
    public = network(kind)
    path = public.folder(tmp_path / "folder")
    if official:
        path, state = tmp_path / "dinov3.pth", dinov3_official(public.state)
        gated = {"gate_proj": "w1", "up_proj": "w2", "fc2": "w3"}
        if kind == "dinov3_gated":
            state = authors_gated(dinov3_official(public.state), gated)
        torch.save(state, path)
    net = loaded(DINOV3, path, name=name)
    require_equal(net, public.hidden, 4)
    assert ("DINOv3's names" if official else "Hugging Face's (DINOv3) names") in notes_of(net)
    unbiased = "2 biases of queries, keys and values left out: they are 0, and it has none"
    assert (unbiased in notes_of(net)) == (official and kind == "dinov3_unbiased")


def authors_gated(state, names):
    """A gated MLP under Meta's names; `authors` takes `up_proj` for the only layer that leads up."""
    renamed = {}
    for name, value in state.items():
        name = name.replace("mlp.fc1.", "mlp.up_proj.")
        for theirs, metas in names.items():
            name = name.replace(f"mlp.{theirs}.", f"mlp.{metas}.")
        renamed[name] = value
    return renamed


def test_biases_that_the_network_lacks_are_named(tmp_path):
    torch.save(dinov3_official(network("dinov3").state), tmp_path / "biased.pth")
    with pytest.raises(CheckpointError, match=r"the network lacks 2: blocks\.0\.attn\.qkv\.bias"):
        loaded(DINOV3, tmp_path / "biased.pth")


def dino(state):
    student = {**prefixed(others(state), "module.backbone."), "module.head.mlp.0.weight": torch.ones(2)}
    teacher = {**prefixed(state, "backbone."), "head.mlp.0.weight": torch.ones(2)}
    settings = argparse.Namespace(arch="vit_small", lr=0.1)
    return {"student": student, "teacher": teacher, "optimizer": {"state": {}}, "epoch": 3, "args": settings}


def moco_v3(state):
    named = {**prefixed(state, "base_encoder."), **prefixed(others(state), "momentum_encoder.")}
    heads = {"base_encoder.head.0.weight": torch.ones(2), "predictor.0.weight": torch.ones(2)}
    return {"epoch": 3, "state_dict": prefixed({**named, **heads}, "module."), "optimizer": {"state": {}}}


def mae(state):
    decoder = ["mask_token", "decoder_embed.weight", "decoder_pos_embed", "decoder_blocks.0.norm1.weight"]
    return {
        "model": {**state, **{name: torch.ones(1, 1, WIDTH) for name in [*decoder, "decoder_pred.weight"]}}
    }


def lightly(state):
    named = {**prefixed(state, "teacher_backbone.vit."), **prefixed(others(state), "student_backbone.vit.")}
    return {"state_dict": {**named, "student_head.last_layer.weight": torch.ones(2)}, "callbacks": {}}


def solo_learn(state):
    named = {**prefixed(state, "backbone."), **prefixed(others(state), "momentum_backbone.")}
    return {"state_dict": {**named, "projector.0.weight": torch.ones(2)}, "optimizer_states": []}


@pytest.mark.parametrize(
    ("layout", "sentences"),
    [
        (dino, ("from `teacher`, `backbone`", "left out: student, optimizer, epoch, args, head (1 arrays)")),
        (
            moco_v3,
            ("MoCo v3's names", "from `state_dict`, `module.base_encoder`", "momentum_encoder (", "head (1"),
        ),
        (mae, ("MAE's names", "from `model`", "decoder (5 arrays)")),
        (
            lambda state: {**state, "head.weight": torch.ones(2)},
            ("timm's names", "left out: head (1 arrays)"),
        ),
        (
            lightly,
            ("from `state_dict`, `teacher_backbone.vit`", "student_backbone (", "student_head (1 arrays)"),
        ),
        (solo_learn, ("from `state_dict`, `backbone`", "momentum_backbone (", "projector (1 arrays)")),
        (
            lambda state: {"state_dict": {**state, "masked_embed": torch.ones(1, WIDTH)}},
            ("iBOT's", "mask token"),
        ),
        (
            lambda state: {"target_encoder": prefixed(state, "module."), "encoder": {}},
            ("from `target_encoder`",),
        ),
    ],
)
def test_vision_transformers_of_methods(tmp_path, layout, sentences):
    heads = 12 if layout is moco_v3 else 4
    public = network("vit12" if heads == 12 else "vit")
    torch.save(layout(authors(public.state)), tmp_path / "weights.pth")
    net = loaded(DINO, tmp_path / "weights.pth", heads=heads)
    require_equal(net, public.hidden)
    for sentence in sentences:
        assert sentence in notes_of(net)


def test_a_norm_after_pooling_is_the_last_norm(tmp_path):
    """Of MAE's fine-tuned files."""
    public = network("vit")
    state = {
        n.replace("norm.", "fc_norm.") if n.startswith("norm.") else n: v
        for n, v in authors(public.state).items()
    }
    torch.save({"model": state}, tmp_path / "finetuned.pth")
    net = loaded(DINO, tmp_path / "finetuned.pth")
    require_equal(net, public.hidden)
    assert "`fc_norm`, taken as the last norm of each token" in notes_of(net)


@pytest.mark.parametrize(
    ("prefix", "beside", "left"),
    [
        ("", {}, "head (2 arrays)"),
        ("vit.", {"classifier.weight": torch.ones(2)}, "classifier (1 arrays), head (2 arrays)"),
        (
            "vit.",
            {"decoder.decoder_embed.weight": torch.ones(2), "decoder.mask_token": torch.ones(2)},
            "decoder (2 arrays)",
        ),
    ],
)
@pytest.mark.parametrize("files", [1, 2])
def test_vision_transformers_of_hugging_face(tmp_path, prefix, beside, left, files):
    """`ViTModel`, `ViTForImageClassification` and `ViTMAEForPreTraining`, in one file or in two with an index."""
    public = network("vit")
    state = {**prefixed(public.state, prefix), **beside}
    names = sorted(state)
    shards = [names[at::files] for at in range(files)]
    (tmp_path / "config.json").write_text(public.config)
    index = {}
    for number, shard in enumerate(shards, start=1):
        file = "model.safetensors" if files == 1 else f"model-0000{number}-of-00002.safetensors"
        save_file({name: state[name] for name in shard}, tmp_path / file)
        index |= dict.fromkeys(shard, file)
    if files > 1:
        (tmp_path / "model.safetensors.index.json").write_text(
            json.dumps({"metadata": {}, "weight_map": index})
        )
    net = loaded(DINO, tmp_path)
    require_equal(net, public.hidden)
    assert f"left out: {left}" in notes_of(net)


def test_a_folder_that_is_not_whole_is_refused(tmp_path):
    network("vit").folder(tmp_path / "net")
    folder = tmp_path / "net"
    (folder / "model.safetensors").rename(tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"net is a folder without model\.safetensors or "):
        loaded(DINO, folder)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../other.safetensors"}}')
    with pytest.raises(
        CheckpointError, match=r"names '\.\./other\.safetensors'; expected safetensors files beside"
    ):
        loaded(DINO, folder)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "gone.safetensors"}}')
    with pytest.raises(CheckpointError, match=r"gone\.safetensors: cannot be read"):
        loaded(DINO, folder)


def test_heads_are_held_against_what_the_authors_say(tmp_path):
    """The same arrays with other heads are another network, which answers without an error."""
    public = network("vit")
    folder = public.folder(tmp_path / "folder")
    for path in (folder, folder / "model.safetensors"):
        with pytest.raises(
            CheckpointError, match="its authors use 4 heads, the network has 6: set `heads: 4`"
        ):
            loaded(DINO, path, heads=6)
    torch.save(moco_v3(authors(public.state)), tmp_path / "moco.pth.tar")
    with pytest.raises(CheckpointError, match="its authors use 12 heads, the network has 4: set `heads: 12`"):
        loaded(DINO, tmp_path / "moco.pth.tar")


def test_a_mask_token_is_taken_where_a_pass_puts_one_in(tmp_path):
    public = network("dinov2")
    folder = public.folder(tmp_path)
    net = loaded(DINOV2, folder)
    assert "left out: mask token" in notes_of(net)
    net.serve([Encode("global", mode="token")])
    assert net.mask_token is None
    net.serve([Encode("global", mask="random", mode="token")])
    assert torch.equal(net.mask_token[0], public.state["embeddings.mask_token"])
    assert "mask token taken" in notes_of(net)
    assert "left out" not in notes_of(net)
