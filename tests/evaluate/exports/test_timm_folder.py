"""Folders that timm loads, without sslkit, with equal features."""

from __future__ import annotations

import json

import pytest
import timm
import torch

from sslkit import Readout, Timm
from sslkit.core.view import View
from sslkit.errors import CheckpointError, SpecError
from sslkit.evaluate.exports import timm_folder
from sslkit.evaluate.exports.opened_model import OpenedModel
from sslkit.evaluate.exports.timm_folder import fill_timm
from tests.evaluate.exports.networks import KINDS, MEAN, STD, elsewhere, expected, model, near
from tests.plugins.backbones.variants import VARIANTS

MADE = [kind for kind in KINDS if kind != "cnn with a small stem"]
FIRST = {"cls": "class_token", "mean": "mean_token"}


def filled(opened, folder):
    folder.mkdir(exist_ok=True)
    with torch.no_grad():
        return fill_timm(opened, folder, folder)


def loaded(folder):
    return timm.create_model(f"local-dir:{folder}", pretrained=True).eval()


@pytest.mark.parametrize("pool", ["cls", "mean"])
@pytest.mark.parametrize("kind", [*(kind for kind in MADE if kind != "timm"), *VARIANTS])
def test_calling_timms_network_gives_what_the_run_reads(tmp_path, kind, pool):
    opened = model(kind, pool)
    reading = filled(opened, tmp_path / "net")
    images = torch.randn(5, 3, opened.view.size, opened.view.size)
    with torch.no_grad():
        assert near(loaded(tmp_path / "net")(images), expected(opened, images)[FIRST[pool]])
    assert reading.deviation < 1e-5
    assert reading.notes == ()
    assert sorted(path.name for path in (tmp_path / "net").iterdir()) == ["config.json", "model.safetensors"]


def test_a_python_without_sslkit_loads_them(tmp_path):
    images, code = torch.randn(2, 3, 32, 32), "import timm\n"
    models = {kind: model(kind, size=32) for kind in MADE}
    for kind, opened in models.items():
        filled(opened, tmp_path / kind)
        code += f"net = timm.create_model('local-dir:{tmp_path / kind}', pretrained=True).eval()\n"
        code += f"answers['{kind}'] = net(images)\n"
    answers = elsewhere(code, tmp_path, images)
    for kind, opened in models.items():
        assert near(answers[kind], expected(opened, images)["class_token"]), kind


def test_the_folder_says_which_images_the_network_reads(tmp_path):
    opened = model("vit")
    opened = opened._replace(readout=Readout(crop=0.75))
    filled(opened, tmp_path / "net")
    settings = timm.data.resolve_model_data_config(loaded(tmp_path / "net"))
    assert settings["input_size"] == (3, 16, 16)
    assert (tuple(settings["mean"]), tuple(settings["std"])) == (MEAN, STD)
    assert (settings["crop_pct"], settings["crop_mode"], settings["interpolation"]) == (
        0.75,
        "center",
        "bicubic",
    )


def test_the_folder_says_that_it_has_no_classes(tmp_path):
    filled(model("cnn"), tmp_path / "net")
    config = json.loads((tmp_path / "net" / "config.json").read_text())
    assert config["architecture"] == "test_resnet"
    assert (config["num_classes"], config["pretrained_cfg"]["num_classes"]) == (0, 0)
    assert "num_classes" not in config["model_args"]


def test_a_network_that_no_argument_makes_is_refused(tmp_path):
    message = r"no argument of timm makes this network of 'resnet18' \(`net\.conv1 = .*--to onnx"
    with pytest.raises(SpecError, match=message):
        filled(model("cnn with a small stem"), tmp_path)
    assert list(tmp_path.iterdir()) == []


SIGLIP = {"depth": 1, "embed_dim": 32, "num_heads": 2, "img_size": 32}


@pytest.mark.parametrize(
    ("spec", "pool"),
    [
        (Timm(name="vit_base_patch16_siglip_224", arguments=SIGLIP), "mean"),  # which pools by attention
        (Timm(name="test_convnext"), "mean"),  # which norms the mean
    ],
)
def test_a_network_whose_readout_timm_cannot_pool_answers_with_its_features(tmp_path, spec, pool):
    view = View(32, 1, 3, MEAN, STD)
    opened = OpenedModel("net", spec.build(view).eval(), view, Readout(pool=pool), None)
    reading = filled(opened, tmp_path / "net")
    assert "net.forward_features(images)" in reading.usage
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        tokens = timm_folder._patches(loaded(tmp_path / "net"), images)
    assert near(tokens, expected(opened, images)["patch_tokens"])


def test_what_the_head_of_a_timm_network_makes_is_its_class_token(tmp_path):
    opened = model("timm")
    assert "net(images)" in filled(opened, tmp_path / "net").usage
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert near(loaded(tmp_path / "net")(images), expected(opened, images)["class_token"])


def test_a_block_that_the_run_reads_is_told_of(tmp_path):
    opened = model("vit", "mean", layer=0)
    reading = filled(opened, tmp_path / "net")
    assert reading.notes == (
        "answers with the last block, and the run reads block 0",
        "has block 0 in `net.forward_intermediates(images, indices=[0], norm=False)`",
    )
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert near(loaded(tmp_path / "net")(images), expected(opened, images)["mean_token"])


def test_other_answers_are_found(tmp_path, monkeypatch):
    """A timm that reads the files otherwise."""
    read = timm_folder._read

    def doubled(folder):
        net = read(folder)
        for parameter in net.parameters():
            parameter.data.mul_(2)
        return net

    monkeypatch.setattr(timm_folder, "_read", doubled)
    with pytest.raises(CheckpointError, match=r"vit: what was written answers otherwise .* nothing is kept"):
        filled(model("vit"), tmp_path / "net")


def test_a_diverged_network_is_refused(tmp_path):
    opened = model("vit")
    opened.net.net.norm.weight.data.fill_(float("nan"))
    with pytest.raises(CheckpointError, match="vit is not finite: the network has diverged"):
        filled(opened, tmp_path / "net")


@pytest.mark.parametrize(
    ("damage", "message"),
    [("config.json", "timm cannot load what was written"), ("model.safetensors", "timm cannot load")],
)
def test_a_broken_folder_gives_one_line(tmp_path, damage, message):
    filled(model("vit"), tmp_path / "net")
    (tmp_path / "net" / damage).write_bytes(b"{broken")
    with pytest.raises(CheckpointError, match=message) as caught:
        timm_folder._read(tmp_path / "net")
    assert "\n" not in str(caught.value).strip()


def test_random_numbers_of_others_stay_as_they_are(tmp_path):
    opened = model("vit")
    torch.manual_seed(7)
    before = torch.get_rng_state()
    filled(opened, tmp_path / "net")
    assert torch.equal(torch.get_rng_state(), before)
