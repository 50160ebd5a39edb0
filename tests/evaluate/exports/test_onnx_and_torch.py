"""ONNX and torch.export: batches of any size, the same tokens, without sslkit."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from sslkit.core.passes import Request
from sslkit.errors import CheckpointError, SpecError
from sslkit.evaluate.exports import onnx_file, written
from sslkit.evaluate.exports.named_tokens import NamedTokens
from sslkit.evaluate.exports.onnx_file import read_onnx, write_onnx
from sslkit.evaluate.exports.torch_program import ABOUT, read_torch_program, write_torch_program
from sslkit.evaluate.exports.written import Options
from tests.evaluate.exports.networks import KINDS, MEAN, STD, elsewhere, model, near
from tests.plugins.backbones.variants import VARIANTS

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed")

ENDINGS = {"onnx": ".onnx", "torch-export": ".pt2"}
WRITERS = {"onnx": write_onnx, "torch-export": write_torch_program}
EVERY_BLOCK = ["plain with registers", "beit relative", "eva rotary", "rope of every block", "dinov3"]


def save(opened, to, tmp_path, options=Options()):  # noqa: B008 -- frozen
    out = tmp_path / f"net{ENDINGS[to]}"
    with torch.no_grad():
        return out, WRITERS[to](opened, out, options)


def run(to, path, images):
    """The outputs of the file at `path`, by name."""
    if to == "torch-export":
        with torch.no_grad():
            return torch.export.load(path).module()(images)
    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]
    return dict(
        zip(names, map(torch.from_numpy, session.run(names, {"images": images.numpy()})), strict=True)
    )


@pytest.mark.parametrize("to", WRITERS)
@pytest.mark.parametrize("kind", [*KINDS, *EVERY_BLOCK])
def test_batches_of_any_size_give_the_same_tokens(tmp_path, to, kind):
    opened = model(kind)
    path, reading = save(opened, to, tmp_path)
    assert reading.deviation < 1e-5
    for count in (1, 2, 7):
        images = torch.randn(count, 3, opened.view.size, opened.view.size)
        outputs, ours = run(to, path, images), NamedTokens(opened)(images)
        assert list(outputs) == list(ours) == ["class_token", "mean_token", "patch_tokens"]
        assert all(near(outputs[name], ours[name]) for name in ours)
    assert list(tmp_path.iterdir()) == [path]


def test_every_variant_is_traced_or_a_cousin_of_one_that_is():
    assert set(EVERY_BLOCK) <= set(VARIANTS)


def test_a_python_without_sslkit_runs_them(tmp_path):
    images, code = torch.randn(2, 3, 32, 32), "import torch, onnxruntime\n"
    models = {kind: model(kind, size=32) for kind in ("vit", "cnn", "swin")}
    for kind, opened in models.items():
        for to in WRITERS:
            folder = tmp_path / f"{kind}-{to}"
            folder.mkdir()
            path, _ = save(opened, to, folder)
            name = f"{kind}-{to}"
            if to == "onnx":
                call = f"onnxruntime.InferenceSession('{path}').run(['class_token'], {{'images': images.numpy()}})[0]"
            else:
                call = f"torch.export.load('{path}').module()(images)['class_token']"
            code += f"answers['{name}'] = {call}\n"
    answers = elsewhere(code, tmp_path, images)
    for kind, opened in models.items():
        ours = NamedTokens(opened)(images)["class_token"]
        assert all(near(answers[f"{kind}-{to}"], ours) for to in WRITERS), kind


@pytest.mark.parametrize("to", WRITERS)
def test_the_block_and_the_pooling_of_the_readout(tmp_path, to):
    opened = model("vit", "mean", layer=0)
    images = torch.randn(2, 3, 16, 16)
    outputs = run(to, save(opened, to, tmp_path)[0], images)
    (tokens,) = opened.net([Request(images[None], None, "drop", (0,))])
    assert next(iter(outputs)) == "mean_token"
    assert near(outputs["mean_token"], tokens.layers[0][0][:, 1:].mean(1))


@pytest.mark.parametrize("to", WRITERS)
def test_the_head_of_the_readout_goes_along(tmp_path, to):
    torch.manual_seed(0)
    head = (
        nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
        .eval()
        .requires_grad_(False)
    )
    opened = model("vit")._replace(head=head)
    path, reading = save(opened, to, tmp_path)
    images = torch.randn(5, 3, 16, 16)
    outputs = run(to, path, images)
    assert "'features'" in reading.usage
    assert near(outputs["features"], head(NamedTokens(opened)(images)["class_token"]))


@pytest.mark.parametrize("to", WRITERS)
def test_normalization_can_be_inside(tmp_path, to):
    opened = model("vit")
    path, reading = save(opened, to, tmp_path, Options(normalize=True))
    pixels = torch.rand(2, 3, 16, 16)
    normalized = (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    ours = NamedTokens(opened)(normalized)
    assert near(run(to, path, pixels)["class_token"], ours["class_token"])
    assert "float32 [B, 3, 16, 16], pixels in [0, 1]" in reading.usage


def about(to, path):
    if to == "onnx":
        return json.loads(onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map["sslkit"])
    extra = {ABOUT: ""}
    torch.export.load(path, extra_files=extra)
    return json.loads(extra[ABOUT])


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("to", WRITERS)
def test_the_file_says_which_images_it_wants(tmp_path, to, normalize):
    opened = model("vit", "mean")
    path, reading = save(opened, to, tmp_path, Options(normalize=normalize))
    description = about(to, path)
    assert (tuple(description["mean"]), tuple(description["std"])) == (MEAN, STD)
    assert (description["size"], description["normalizes"], description["layer"]) == (16, normalize, -1)
    assert description["outputs"] == ["mean_token", "class_token", "patch_tokens"]
    assert description["images"] in reading.usage
    wanted = (
        "pixels in [0, 1]"
        if normalize
        else "normalized: (pixels in [0, 1] - (0.5, 0.4, 0.3)) / (0.2, 0.3, 0.4)"
    )
    assert description["images"] == f"float32 [B, 3, 16, 16], {wanted}"


@pytest.mark.parametrize("opset", [18, 20, 21])
def test_opsets(tmp_path, opset):
    onnx = pytest.importorskip("onnx")
    opened = model("vit")
    path, reading = save(opened, "onnx", tmp_path, Options(opset=opset))
    written_model = onnx.load(path)
    onnx.checker.check_model(written_model)
    assert [entry.version for entry in written_model.opset_import if entry.domain == ""] == [opset]
    assert reading.notes == (f"has opset {opset}",)
    images = torch.randn(2, 3, 16, 16)
    assert near(run("onnx", path, images)["class_token"], NamedTokens(opened)(images)["class_token"])


def test_the_first_dimension_is_called_batch(tmp_path):
    session = onnxruntime.InferenceSession(save(model("vit"), "onnx", tmp_path)[0])
    assert session.get_inputs()[0].shape == ["batch", 3, 16, 16]
    assert [output.shape[0] for output in session.get_outputs()] == ["batch"] * 3


@pytest.mark.parametrize("opset", [7, 17, 24])
def test_other_opsets_are_refused(tmp_path, opset):
    with pytest.raises(SpecError, match=f"--opset: {opset} is none of 18 to 23, which torch writes"):
        save(model("vit"), "onnx", tmp_path, Options(opset=opset))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("to", "ending"), ENDINGS.items())
def test_other_endings_are_refused(tmp_path, to, ending):
    with pytest.raises(SpecError, match=rf"net\.bin: must be a file that ends in \{ending}"):
        WRITERS[to](model("vit"), tmp_path / "net.bin", Options())


def test_a_missing_package_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(written, "find_spec", lambda name: None if name == "onnxscript" else object())
    message = r"^--to onnx: needs onnxscript, not installed here: pip install 'sslkit\[onnx\]'$"
    with pytest.raises(SpecError, match=message):
        save(model("vit"), "onnx", tmp_path)


def test_more_weights_than_a_file_of_protobuf_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "MOST_BYTES", 1000)
    with pytest.raises(
        SpecError, match=r"vit: has 0\.0 GiB of weights, and an ONNX file holds 2; use --to torch"
    ):
        save(model("vit"), "onnx", tmp_path)


@pytest.mark.parametrize("content", [b"", b"no such file", b"PK\x03\x04broken"])
def test_broken_and_foreign_files_give_one_line(tmp_path, content):
    for read, message in (
        (read_onnx, "onnxruntime cannot load"),
        (read_torch_program, "torch.export cannot load"),
    ):
        with pytest.raises(CheckpointError, match=f"net: {message} what was written: ") as caught:
            read(content, tmp_path / "net")
        assert "\n" not in str(caught.value).strip()


class Untraceable(nn.Module):
    """A head that looks at the numbers."""

    def forward(self, features):
        return features * 2 if float(features.sum()) > 0 else features


@pytest.mark.parametrize("to", WRITERS)
def test_what_cannot_be_traced_is_told_in_one_line(tmp_path, to):
    with pytest.raises(SpecError, match=r"vit: torch\.export cannot trace this network: ") as caught:
        save(model("vit")._replace(head=Untraceable()), to, tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_file_holds_no_paths_of_this_machine(tmp_path):
    path, _ = save(model("vit"), "torch-export", tmp_path)
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        texts = [archive.read(name) for name in archive.namelist() if name.endswith(".json")]
    assert texts
    assert not any(b"site-packages" in text or b"sslkit_backbones/" in text for text in texts)


@pytest.mark.parametrize("to", WRITERS)
def test_other_answers_are_found_and_nothing_is_kept(tmp_path, to, monkeypatch):
    opened, place = (
        model("vit"),
        f"sslkit.evaluate.exports.{'onnx_file' if to == 'onnx' else 'torch_program'}",
    )
    other = model("vit", seed=1)
    if to == "onnx":
        monkeypatch.setattr(f"{place}._answers", lambda session, images: NamedTokens(other)(images))
    else:
        program = read_torch_program(save(other, to, tmp_path)[0].read_bytes(), tmp_path)
        (tmp_path / "net.pt2").unlink()
        monkeypatch.setattr(f"{place}.read_torch_program", lambda content, out: program)
    with pytest.raises(CheckpointError, match="vit: what was written answers otherwise than the network"):
        save(opened, to, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_numbers_are_float32(tmp_path):
    session = onnxruntime.InferenceSession(save(model("cnn"), "onnx", tmp_path)[0])
    (features,) = session.run(["class_token"], {"images": np.zeros((1, 3, 32, 32), np.float32)})
    assert features.dtype == np.float32
