"""Folders that transformers loads, without sslkit, with equal features."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from sslkit import Readout, ViT
from sslkit.core.passes import Encode, Mask, Request
from sslkit.core.view import View
from sslkit.errors import CheckpointError, SpecError
from sslkit.evaluate.exports import written
from sslkit.evaluate.exports.hugging_face_folder import _read, fill_hugging_face
from sslkit.evaluate.exports.opened_model import OpenedModel
from sslkit.evaluate.exports.timm_folder import fill_timm
from sslkit.functional.pixel_normalization import normalized
from sslkit.functional.resize import resize_center
from tests.evaluate.exports.networks import MEAN, STD, elsewhere, expected, model, near
from tests.plugins.backbones.public_layouts import FIELDS
from tests.plugins.backbones.variants import perturbed

transformers = pytest.importorskip("transformers", reason="the extra `hf` is not installed")

ARCHITECTURES = {
    "vit": ("ViTModel", {"name": "vit_tiny_patch16_224"}),
    "learned positions": ("ViTModel", {"name": "vit_tiny_patch16_224", "positions": "learned"}),
    "tanh": ("ViTModel", {"name": "vit_tiny_patch16_224", "activation": "gelu_tanh"}),
    "quick": ("ViTModel", {"name": "vit_tiny_patch16_224", "activation": "quick_gelu"}),
    "scaled": ("Dinov2Model", {"name": "vit_tiny_patch16_224", "layer_scale": 0.5}),
    "dinov2": ("Dinov2Model", {"name": "vit_small_patch14_dinov2", "positions": "learned"}),
    "dinov2 gated": ("Dinov2Model", {"name": "vit_giant_patch14_dinov2", "positions": "learned"}),
    "registers": ("Dinov2WithRegistersModel", {"name": "vit_tiny_patch16_224", "registers": 3}),
    "registers without positions": (
        "Dinov2WithRegistersModel",
        {"name": "vit_small_patch14_reg4_dinov2", "positions": "learned"},
    ),
    "dinov3": ("DINOv3ViTModel", {"name": "vit_small_patch16_dinov3", "positions": "rotary"}),
    "dinov3 biased": ("DINOv3ViTModel", {"name": "vit_small_patch16_dinov3_qkvb", "positions": "rotary"}),
    "dinov3 gated": ("DINOv3ViTModel", {"name": "vit_small_plus_patch16_dinov3_qkvb", "positions": "rotary"}),
}
VIEW = View(32, 1, 3, MEAN, STD)


def opened_as(kind, pool="cls", serve=()):
    torch.manual_seed(0)
    net = ViT(**FIELDS, **ARCHITECTURES[kind][1]).build(VIEW)
    net.serve(serve)
    return OpenedModel(kind, perturbed(net).requires_grad_(False), VIEW, Readout(pool=pool), None)


def filled(opened, folder):
    folder.mkdir(exist_ok=True)
    with torch.no_grad():
        return fill_hugging_face(opened, folder, folder)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_transformers_gives_the_same_tokens(tmp_path, kind):
    opened = opened_as(kind)
    reading = filled(opened, tmp_path / "net")
    net = transformers.AutoModel.from_pretrained(tmp_path / "net").eval()
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        output = net(pixel_values=images)
    ours, prefix = expected(opened, images), opened.net.prefix
    assert type(net).__name__ == ARCHITECTURES[kind][0]
    assert near(output.pooler_output, ours["class_token"])
    assert near(output.last_hidden_state[:, 0], ours["class_token"])
    assert near(output.last_hidden_state[:, prefix:], ours["patch_tokens"])
    assert reading.deviation < 1e-5
    names = ["config.json", "model.safetensors", "preprocessor_config.json"]
    assert sorted(path.name for path in (tmp_path / "net").iterdir()) == names


def test_nothing_is_left_to_chance(tmp_path):
    """transformers draws what a file lacks, and says so."""
    for kind in ("vit", "registers", "dinov3"):
        filled(opened_as(kind), tmp_path / kind)
        _, info = transformers.AutoModel.from_pretrained(tmp_path / kind, output_loading_info=True)
        assert not any(info[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys")), kind


def test_a_python_without_sslkit_loads_them(tmp_path):
    images, code = torch.randn(2, 3, 32, 32), "from transformers import AutoImageProcessor, AutoModel\n"
    models = {kind: opened_as(kind) for kind in ("vit", "registers", "dinov3")}
    for kind, opened in models.items():
        filled(opened, tmp_path / kind)
        code += f"AutoImageProcessor.from_pretrained('{tmp_path / kind}')\n"
        code += f"net = AutoModel.from_pretrained('{tmp_path / kind}').eval()\n"
        code += f"answers['{kind}'] = net(pixel_values=images).pooler_output\n"
    answers = elsewhere(code, tmp_path, images)
    for kind, opened in models.items():
        assert near(answers[kind], expected(opened, images)["class_token"]), kind


@pytest.mark.parametrize("pool", ["cls", "mean"])
@pytest.mark.parametrize("kind", ["vit", "registers"])
def test_the_lines_that_are_told_give_what_the_run_reads(tmp_path, kind, pool):
    opened = opened_as(kind, pool)
    reading = filled(opened, tmp_path / "net")
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    names = {"image": Image.fromarray(pixels)}
    exec(reading.usage, names)
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    first = {"cls": "class_token", "mean": "mean_token"}[pool]
    ours = expected(opened, normalized(resize_center(images, 32), MEAN, STD))
    assert near(names["features"].detach(), ours[first])


@pytest.mark.parametrize(("crop", "edge"), [(1.0, 32), (0.8, 40)])
def test_the_processor_resizes_crops_and_normalizes_as_the_view(tmp_path, crop, edge):
    opened = opened_as("vit")._replace(readout=Readout(crop=crop))
    filled(opened, tmp_path / "net")
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "net")
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    theirs = processor(Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    ours = normalized(resize_center(images, 32, crop), MEAN, STD)
    assert processor.size["shortest_edge"] == edge
    assert theirs.shape == ours.shape
    assert (
        theirs - ours
    ).abs().mean() < 0.2 * ours.std()  # of noise, which kernels of two programs blur differently


def test_the_mask_token_goes_along(tmp_path):
    """Dinov2 and DINOv3 have one; the tokens of masked images are the same too."""
    serve = (Encode("global", mask="some", mode="token"),)
    opened = opened_as("dinov2", serve=serve)
    filled(opened, tmp_path / "net")
    state = load_file(tmp_path / "net" / "model.safetensors")
    assert torch.equal(state["embeddings.mask_token"].flatten(), opened.net.mask_token.flatten())
    hidden = torch.zeros(1, 2, 64, dtype=torch.bool)
    hidden[:, :, ::3] = True
    empty = torch.zeros(0, dtype=torch.int64)
    mask, images = (
        Mask(hidden, torch.zeros(1, 2, 0, dtype=torch.int64), empty, empty),
        torch.randn(2, 3, 32, 32),
    )
    net = transformers.AutoModel.from_pretrained(tmp_path / "net").eval()
    with torch.no_grad():
        theirs = net(pixel_values=images, bool_masked_pos=hidden[0]).last_hidden_state
        (tokens,) = opened.net([Request(images[None], mask, "token", ())])
    assert near(theirs[:, 1:], tokens.patch[0])


def test_sslkit_reads_its_own_folders(tmp_path):
    opened = opened_as("registers without positions")
    filled(opened, tmp_path / "net")
    spec = ViT(**FIELDS, **ARCHITECTURES["registers without positions"][1], checkpoint=tmp_path / "net")
    again = opened._replace(net=spec.build(VIEW).eval())
    images = torch.randn(2, 3, 32, 32)
    assert near(expected(again, images)["patch_tokens"], expected(opened, images)["patch_tokens"])


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("swin", "it is a SwinBackbone"),
        ("cnn", "its stem has several convolutions"),
        ("cnn with a small stem", "its stem is another"),
        ("timm", "it is a Wrapped"),
        ("beit relative", "it is a Beit of timm"),
        ("eva rotary", "its rotary positions are not DINOv3's"),
        ("rope beside learned", "its rotary positions are not DINOv3's"),
    ],
)
def test_what_transformers_does_not_have_is_refused_in_one_line(tmp_path, kind, reason):
    message = (
        f"^{kind}: transformers has no such network: {reason}; `--to timm` writes a folder that transformers"
    )
    with pytest.raises(SpecError, match=message):
        filled(model(kind), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (
            {"name": "vit_base_patch16_clip_224", "positions": "learned"},
            "it has a norm before the first block",
        ),
        ({"name": "vit_base_patch16_siglip_224", "positions": "learned"}, "it has no class token"),
        (
            {"name": "vit_intern300m_patch14_448", "positions": "learned"},
            "it has no layer norm after the last block",
        ),
    ],
)
def test_vision_transformers_of_other_parts_are_refused(tmp_path, fields, reason):
    net = ViT(**FIELDS, **fields).build(VIEW).eval()
    opened = OpenedModel("other", net, VIEW, Readout(), None)
    with pytest.raises(SpecError, match=f"transformers has no such network: {reason}"):
        filled(opened, tmp_path)


@pytest.mark.parametrize("kind", ["swin", "cnn", "timm", "beit relative", "eva rotary"])
def test_transformers_loads_the_folder_for_timm_where_timm_is_installed(tmp_path, kind):
    opened = model(kind, size=32)
    with torch.no_grad():
        fill_timm(opened, tmp_path, tmp_path)
        net = transformers.AutoModel.from_pretrained(tmp_path).eval()
        images = torch.randn(2, 3, 32, 32)
        output = net(pixel_values=images)
    assert type(net).__name__ == "TimmWrapperModel"
    assert near(output.pooler_output, expected(opened, images)["class_token"])


def test_a_missing_package_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(written, "find_spec", lambda name: None)
    message = r"^--to hf: needs transformers, not installed here: pip install 'sslkit\[hf\]'$"
    with pytest.raises(SpecError, match=message):
        filled(opened_as("vit"), tmp_path)


@pytest.mark.parametrize("damage", ["config.json", "model.safetensors", "preprocessor_config.json"])
def test_a_broken_folder_gives_one_line(tmp_path, damage):
    filled(opened_as("vit"), tmp_path / "net")
    (tmp_path / "net" / damage).write_bytes(b"{broken")
    with pytest.raises(CheckpointError, match="transformers cannot load what was written: ") as caught:
        _read(tmp_path / "net")
    assert "\n" not in str(caught.value).strip()


def test_other_answers_are_found(tmp_path, monkeypatch):
    other = opened_as("tanh")
    filled(other, tmp_path / "other")
    net = _read(tmp_path / "other")
    monkeypatch.setattr("sslkit.evaluate.exports.hugging_face_folder._read", lambda folder: net)
    with pytest.raises(CheckpointError, match="learned positions: what was written answers otherwise"):
        filled(opened_as("learned positions"), tmp_path / "net")


def test_one_channel(tmp_path):
    view = View(32, 1, 1, (0.5,), (0.25,))
    net = perturbed(ViT(name="vit_tiny_patch16_224", **FIELDS).build(view))
    opened = OpenedModel("gray", net.requires_grad_(False), view, Readout(), None)
    reading = filled(opened, tmp_path / "net")
    names = {"image": Image.fromarray(np.full((32, 32), 100, np.uint8))}
    exec(reading.usage, names)
    ours = expected(opened, torch.full((1, 1, 32, 32), (100 / 255 - 0.5) / 0.25))
    assert near(names["features"].detach(), ours["class_token"])
    assert json.loads((tmp_path / "net" / "config.json").read_text())["num_channels"] == 1
