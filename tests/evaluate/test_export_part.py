"""Parts of a run as files. Their use as tokenizers is tested in tests/plugins/tokens."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from sslkit.build.restore import restore
from sslkit.core.passes import Request
from sslkit.errors import CheckpointError, SpecError
from sslkit.evaluate.export_part import export_part, read_part
from sslkit.train.launch import train
from tests import tiny
from tests.train.test_trainer import silent

SMALL = {"codebook": {"size": 6, "dim": 4}, "decoder": tiny.DECODER}
VQ = {"kind": "vq_vae", **SMALL}
MASKED = {"kind": "simmim", "masker": {"kind": "random", "ratio": 0.5}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two tokenizers, and an objective that gives the student a mask token. Tests must not change it."""
    out = tmp_path_factory.mktemp("runs") / "run"
    weights = tmp_path_factory.mktemp("weights") / "gone.safetensors"
    from sslkit.evaluate.export import export

    start = out.with_name("start")
    train(tiny.spec(start, steps=1), silent)
    export(start, weights)
    parts = {"objective": None, "objectives": {"one": VQ, "two": VQ, "masked": MASKED}}
    train(tiny.spec(out, steps=2, backbone={**tiny.VIT, "checkpoint": str(weights)}, **parts), silent)
    return out


def test_a_file_needs_neither_the_run_nor_what_it_started_from(finished, tmp_path):
    export_part(finished, "one.tokenizer", tmp_path / "a.safetensors")
    restored = restore(finished)
    images = torch.randn(1, 3, 1, 8, 8)
    request = [Request(images, None, "drop", ())]
    loaded = read_part(tmp_path / "a.safetensors", "tokenizer")
    with torch.no_grad():
        expected = restored.system.nets["student"].eval()(request)[0].patch
        assert torch.equal(loaded.backbone.eval()(request)[0].patch, expected)
    assert loaded.view == restored.env.views["global"]
    codebook = restored.system.objectives["one"].codebook
    assert torch.equal(loaded.state["codes"], codebook.codes)
    assert loaded.settings == {"metric": "euclidean"}
    assert list(tmp_path.iterdir()) == [tmp_path / "a.safetensors"]


def test_the_file_says_what_it_is(finished, tmp_path):
    export_part(finished, "two.tokenizer", tmp_path / "a.safetensors")
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata["part"] == "tokenizer"
    assert "checkpoint" not in json.loads(metadata["backbone"])["spec"]
    assert json.loads(metadata["view"])["mean"] == [0.3]


def test_parts_that_a_run_does_not_have_are_named(finished, tmp_path):
    message = "has no part 'tokenizer' to export. Known: backbone, one.tokenizer, two.tokenizer"
    with pytest.raises(SpecError, match=message):
        export_part(finished, "tokenizer", tmp_path / "a.safetensors")
    with pytest.raises(SpecError, match=r"a\.pt: must be a file that ends in \.safetensors"):
        export_part(finished, "one.tokenizer", tmp_path / "a.pt")
    assert list(tmp_path.iterdir()) == []


def changed(path, out, **said):
    """The file at `path` with other metadata; without the weights where `said` names none."""
    with safe_open(path, "pt") as file:
        metadata, state = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    if not said:
        state.pop("backbone.net.cls_token")
    save_file(state, out, metadata | said)
    return out


def test_damaged_and_foreign_files_are_refused(finished, tmp_path):
    good = tmp_path / "a.safetensors"
    export_part(finished, "one.tokenizer", good)
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(CheckpointError, match="text: cannot be read"):
        read_part(tmp_path / "text", "tokenizer")
    with pytest.raises(CheckpointError, match=r"no file .*absent; `sslkit export"):
        read_part(tmp_path / "absent", "tokenizer")
    with pytest.raises(
        CheckpointError, match="other: is no tokenizer; `sslkit export RUN_DIR --part tokenizer"
    ):
        read_part(changed(good, tmp_path / "other", part="decoder"), "tokenizer")
    with pytest.raises(CheckpointError, match="less: lacks weights of its backbone: net"):
        read_part(changed(good, tmp_path / "less"), "tokenizer")
    unknown = json.dumps({"spec": {"kind": "strange"}, "size": 8})
    with pytest.raises(CheckpointError, match="needs backbone 'strange', which no plugin offers here"):
        read_part(changed(good, tmp_path / "odd", backbone=unknown), "tokenizer")
    wrong = json.dumps({"spec": {"kind": "vit", "color": 3}, "size": 8})
    with pytest.raises(CheckpointError, match="its backbone cannot be made again"):
        read_part(changed(good, tmp_path / "old", backbone=wrong), "tokenizer")


def test_reading_does_not_move_torchs_generator(finished, tmp_path):
    export_part(finished, "one.tokenizer", tmp_path / "a.safetensors")
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    read_part(tmp_path / "a.safetensors", "tokenizer")
    assert torch.equal(torch.rand(3), expected)
