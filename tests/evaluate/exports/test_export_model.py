"""`sslkit.export`: of runs, files and timm's networks; whole or absent."""

from __future__ import annotations

import re

import pytest
import timm
import torch

import sslkit
from sslkit.errors import CheckpointError, SpecError, StorageError
from sslkit.evaluate.export import export as export_weights
from sslkit.evaluate.exports import export_model
from sslkit.evaluate.exports.opened_model import open_model
from sslkit.train.launch import train
from tests import tiny
from tests.evaluate.exports.networks import expected, near


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A short run whose readout is its average. Tests must not change it."""
    out = tmp_path_factory.mktemp("runs") / "run"
    run = tiny.spec(
        out, steps=3, nets={"ema": {"momentum": 0.5}}, readout={"net": "ema"}, checkpoint={"every": "1 steps"}
    )
    train(run, lambda text: None)
    return out


def features(folder, images):
    with torch.no_grad():
        return timm.create_model(f"local-dir:{folder}", pretrained=True).eval()(images)


def test_a_run(finished, tmp_path):
    exported = sslkit.export(finished, to="timm", out=tmp_path / "deep" / "net")
    images = torch.randn(4, 1, 8, 8)
    assert near(features(exported.path, images), expected(open_model(str(finished)), images)["class_token"])
    assert 0 <= exported.deviation < 1e-5
    assert [path.name for path in exported.path.parent.iterdir()] == ["net"]


def test_the_lines_that_are_told_load_it(finished, tmp_path):
    exported = sslkit.export(finished, to="timm", out=tmp_path / "net")
    names = {"image": __import__("PIL.Image").Image.new("L", (20, 30))}
    exec(exported.usage, names)
    assert names["features"].shape == (1, 16)


def test_an_earlier_checkpoint(finished, tmp_path):
    sslkit.export(finished, to="timm", out=tmp_path / "net", checkpoint="step-00000002")
    images = torch.randn(4, 1, 8, 8)
    earlier = open_model(str(finished), "step-00000002")
    assert near(features(tmp_path / "net", images), expected(earlier, images)["class_token"])
    assert not near(
        features(tmp_path / "net", images), expected(open_model(str(finished)), images)["class_token"]
    )


def test_a_file_of_weights(finished, tmp_path):
    export_weights(finished, tmp_path / "weights.safetensors")
    sslkit.export(tmp_path / "weights.safetensors", to="timm", out=tmp_path / "net")
    images = torch.randn(4, 1, 8, 8)
    assert near(
        features(tmp_path / "net", images), expected(open_model(str(finished)), images)["class_token"]
    )


def test_a_network_of_timm(tmp_path):
    net = timm.create_model("test_resnet", num_classes=0).eval()
    torch.save(net.state_dict(), tmp_path / "weights.pt")
    sslkit.export(
        "timm:test_resnet", to="timm", out=tmp_path / "net", checkpoint=str(tmp_path / "weights.pt")
    )
    images = torch.randn(2, 3, 160, 160)
    with torch.no_grad():
        assert near(features(tmp_path / "net", images), net(images))


def test_an_empty_folder_is_taken(finished, tmp_path):
    (tmp_path / "net").mkdir()
    exported = sslkit.export(finished, to="timm", out=tmp_path / "net")
    assert (exported.path / "config.json").is_file()


def test_what_is_there_stays(finished, tmp_path):
    for name in ("file", "folder"):
        where = tmp_path / name
        (where if name == "file" else tmp_path / "folder" / "inside").parent.mkdir(exist_ok=True)
        (where if name == "file" else where / "inside").write_text("mine")
        with pytest.raises(
            SpecError, match=f"^{re.escape(str(where))}: is there already; remove it, or give another"
        ):
            sslkit.export(finished, to="timm", out=where)
    assert (tmp_path / "file").read_text() == (tmp_path / "folder" / "inside").read_text() == "mine"


def test_an_error_leaves_nothing(finished, tmp_path, monkeypatch):
    def half(model, folder, out):
        (folder / "config.json").write_text("half of it")
        raise CheckpointError("answers otherwise")

    monkeypatch.setattr(export_model, "_folders", lambda: {"timm": half})
    with pytest.raises(CheckpointError, match="answers otherwise"):
        sslkit.export(finished, to="timm", out=tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_of(finished, tmp_path, monkeypatch):
    def full(model, folder, out):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export_model, "_folders", lambda: {"timm": full})
    with pytest.raises(StorageError, match=r"net: could not be written: No space left.*Free some space"):
        sslkit.export(finished, to="timm", out=tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("what", "checkpoint", "error", "message"),
    [
        (
            "nowhere",
            "last",
            SpecError,
            "nowhere: no such run folder or exported file; a network of timm is written timm:",
        ),
        ("folder", "last", CheckpointError, "folder: holds no run"),
        ("broken.safetensors", "last", CheckpointError, "broken.safetensors: cannot be read as safetensors"),
        (
            "broken.safetensors",
            "best",
            SpecError,
            "checkpoint: is one of a run, and broken.safetensors is a file",
        ),
        ("timm:nothing_like_it", "none.pt", SpecError, "timm .* has no model 'nothing_like_it'"),
    ],
)
def test_what_is_no_network_is_refused(tmp_path, monkeypatch, what, checkpoint, error, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "broken.safetensors").write_bytes(b"no safetensors")
    with pytest.raises(error, match=message) as caught:
        sslkit.export(what, to="timm", out="net", checkpoint=checkpoint)
    assert "\n" not in str(caught.value).strip()
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize(
    ("to", "options", "message"),
    [
        ("tflite", {}, "--to: 'tflite' is no format. Known: timm, hf, onnx, torch-export"),
        ("timm", {"opset": 18}, "--opset: is of --to onnx; leave it out"),
        ("torch-export", {"opset": 18}, "--opset: is of --to onnx; leave it out"),
        ("timm", {"normalize": True}, "--normalize: a folder for timm says mean and deviation"),
        ("hf", {"normalize": True}, "--normalize: a folder for hf says mean and deviation"),
    ],
)
def test_options_that_a_format_does_not_have_are_refused(tmp_path, to, options, message):
    with pytest.raises(SpecError, match=f"^{re.escape(message)}"):
        sslkit.export("timm:test_resnet", to=to, out=tmp_path / "net", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("to", "name"), [("onnx", "net.onnx"), ("torch-export", "net.pt2"), ("hf", "net")])
def test_a_run_in_every_format(finished, tmp_path, to, name):
    pytest.importorskip({"onnx": "onnxruntime", "hf": "transformers"}.get(to, "torch"))
    exported = sslkit.export(finished, to=to, out=tmp_path / "deep" / name)
    assert exported.path == tmp_path / "deep" / name
    assert exported.path.exists()
    assert 0 <= exported.deviation < 1e-5
    with pytest.raises(SpecError, match="is there already"):
        sslkit.export(finished, to=to, out=exported.path)


def test_the_head_of_a_run_goes_into_a_file(tmp_path):
    objective = {"kind": "byol"}
    view = {**tiny.VIEW, "crops": 2}
    readout = {"head": "byol.projector"}
    run = tiny.spec(tmp_path / "run", objective=objective, views={"global": view}, readout=readout, steps=1,
                    nets={"teacher": {"momentum": 0.5}})  # fmt: skip
    train(run, lambda text: None)
    opened = open_model(str(tmp_path / "run"))
    exported = sslkit.export(tmp_path / "run", to="torch-export", out=tmp_path / "net.pt2")
    images = torch.randn(4, 1, 8, 8)
    outputs = torch.export.load(exported.path).module()(images)
    assert near(outputs["features"], opened.head(expected(opened, images)["class_token"]))
    without = sslkit.export(tmp_path / "run", to="timm", out=tmp_path / "net")
    assert without.notes == (
        "lacks the run's head `byol.projector`; --to onnx or --to torch-export take it along",
    )
