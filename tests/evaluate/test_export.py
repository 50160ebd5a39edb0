"""Backbones as files that timm loads."""

from __future__ import annotations

import json
import re

import pytest
import timm
import torch
from safetensors import safe_open

from sslkit.api import load_backbone
from sslkit.core.passes import Request
from sslkit.errors import CheckpointError, SpecError
from sslkit.evaluate.export import export, usage
from sslkit.train.launch import train
from tests import tiny


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A short run whose readout is its average. Tests must not change it."""
    out = tmp_path_factory.mktemp("runs") / "run"
    run = tiny.spec(
        out, steps=3, nets={"ema": {"momentum": 0.5}}, readout={"net": "ema"}, checkpoint={"every": "1 steps"}
    )
    train(run, lambda text: None)
    return out


def ours(run_dir, images, checkpoint="last"):
    """Class and patch tokens of the run's own backbone."""
    with torch.no_grad():
        tokens = load_backbone(run_dir, checkpoint)([Request(images[None], None, "drop", ())])[0]
    return torch.cat([tokens.cls[0][:, None], tokens.patch[0]], dim=1)


def alike(theirs, tokens):
    """Equal weights; timm embeds patches by a convolution, which some processors round in another way."""
    return torch.allclose(theirs, tokens, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["net.safetensors", "net.pt", "deep/er/net.pth"])
def test_timm_makes_the_same_features(finished, tmp_path, name):
    out = tmp_path / name
    exported = export(finished, out)
    images = torch.randn(3, 1, 8, 8)
    net = timm.create_model(exported.architecture, **exported.arguments, checkpoint_path=str(out)).eval()
    with torch.no_grad():
        assert alike(net.forward_features(images), ours(finished, images))
    assert list(out.parent.iterdir()) == [out]


def test_the_printed_line_loads_the_file(finished, tmp_path):
    out = tmp_path / "it's.safetensors"
    line = usage(export(finished, out), out)
    net = eval(line, {"timm": timm}).eval()
    images = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        assert alike(net.forward_features(images), ours(finished, images))


def test_an_earlier_checkpoint_can_be_written(finished, tmp_path):
    export(finished, tmp_path / "a.pt", "step-00000002")
    images = torch.randn(2, 1, 8, 8)
    state = torch.load(tmp_path / "a.pt", weights_only=True)
    assert torch.equal(state["cls_token"], load_backbone(finished, "step-00000002").net.cls_token)
    assert not torch.equal(ours(finished, images, "step-00000002"), ours(finished, images))


def test_the_file_says_what_it_is(finished, tmp_path):
    exported = export(finished, tmp_path / "net.safetensors")
    with safe_open(tmp_path / "net.safetensors", "pt") as file:
        metadata = file.metadata()
        assert set(file.keys()) == set(exported.state)
    assert metadata["format"] == "pt"
    assert metadata["architecture"] == "vit_tiny_patch16_224"
    assert json.loads(metadata["arguments"]) == exported.arguments
    assert exported.arguments["embed_dim"] == 16


def test_what_only_pre_training_needs_stays_behind(finished, tmp_path):
    state = export(finished, tmp_path / "net.pt").state
    assert not any("mask_token" in name or "decoder" in name for name in state)


def test_the_file_starts_another_run(finished, tmp_path):
    export(finished, tmp_path / "net.safetensors")
    from sslkit.train.compose import compose

    started = tiny.spec(backbone={**tiny.VIT, "checkpoint": str(tmp_path / "net.safetensors")})
    net = compose(started, tiny.CPU).system.nets["student"]
    assert torch.equal(net.net.cls_token, load_backbone(finished).net.cls_token)


@pytest.mark.parametrize("name", ["net", "net.bin", "net.safetensors.gz", "folder.pt"])
def test_other_names_are_refused(finished, tmp_path, name):
    (tmp_path / "folder.pt").mkdir()
    message = f"{tmp_path / name}: must be a file that ends in .safetensors, or in .pt or .pth"
    with pytest.raises(SpecError, match=f"^{re.escape(message)}"):
        export(finished, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.pt"]


def test_an_old_file_is_replaced_only_by_a_whole_one(finished, tmp_path, monkeypatch):
    out = tmp_path / "net.pt"
    out.write_bytes(b"old")

    def fail(state, file):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="No space left"):
        export(finished, out)
    assert out.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [out]


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="holds no run"):
        export(tmp_path, tmp_path / "a.pt")
