"""`sslkit export`."""

from __future__ import annotations

import pytest
import timm
import torch

from sslkit.cli.main import OK, USER_ERROR
from sslkit.train.launch import train
from tests import tiny
from tests.cli.specs import call
from tests.train.test_trainer import silent


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of one step. Tests must not change it."""
    out = tmp_path_factory.mktemp("runs") / "run"
    train(tiny.spec(out, steps=1), silent)
    return out


@pytest.mark.parametrize("name", ["net.safetensors", "net.pt"])
def test_the_line_that_is_printed_loads_the_weights(finished, tmp_path, capsys, name):
    code, printed, err = call(capsys, "export", finished, "--out", tmp_path / name)
    assert (code, err) == (OK, "")
    lines = printed.splitlines()
    assert lines[:2] == [f"written: {tmp_path / name}", "load it with:"]
    net = eval(lines[2], {"timm": timm})
    assert net.forward_features(torch.zeros(1, 1, 8, 8)).shape == (1, 5, 16)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "net.txt"], "error: net.txt: must be a file that ends in .safetensors, or in .pt or .pth"),
        (["--out", "net.pt", "--checkpoint", "x"], "has no checkpoint 'x'. Known: last, best, step-00000001"),
        (["--out", "net.pt", "--checkpoint", "best"], "no best checkpoint by any metric"),
    ],
)
def test_what_cannot_be_written_is_refused(finished, tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    code, printed, err = call(capsys, "export", finished, *words)
    assert (code, printed) == (USER_ERROR, "")
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_parts_are_written_and_unknown_ones_named(finished, tmp_path, capsys):
    objective = {"kind": "vq_vae", "codebook": {"size": 6, "dim": 4}, "decoder": tiny.DECODER}
    train(tiny.spec(tmp_path / "run", objective=objective, steps=1), silent)
    out = tmp_path / "tokenizer.safetensors"
    code, printed, err = call(capsys, "export", tmp_path / "run", "--part", "tokenizer", "--out", out)
    assert (code, printed, err) == (OK, f"written: {out}\n", "")
    assert out.is_file()
    code, _, err = call(
        capsys, "export", finished, "--part", "tokenizer", "--out", out.with_name("b.safetensors")
    )
    assert code == USER_ERROR
    assert "has no part 'tokenizer' to export. Known: backbone" in err


def test_the_file_must_be_named(finished, capsys):
    with pytest.raises(SystemExit) as caught:
        call(capsys, "export", finished)
    assert caught.value.code == USER_ERROR
    assert "--out" in capsys.readouterr().err


def test_for_timm(finished, tmp_path, capsys):
    code, printed, err = call(capsys, "export", finished, "--to", "timm", "--out", tmp_path / "net")
    assert (code, err) == (OK, "")
    lines = printed.splitlines()
    assert lines[0] == f"written: {tmp_path / 'net'}"
    assert lines[1] == f"written: {tmp_path / 'net' / 'README.md'}"
    assert lines[2].startswith("read back: answers as the network, ")
    assert lines[3:5] == ["load it with:", "  import timm"]
    net = timm.create_model(f"local-dir:{tmp_path / 'net'}", pretrained=True)
    assert net(torch.zeros(1, 1, 8, 8)).shape == (1, 16)


def test_parts_are_of_no_other_program(finished, tmp_path, capsys):
    words = ("--to", "timm", "--part", "tokenizer", "--out", tmp_path / "net")
    code, printed, err = call(capsys, "export", finished, *words)
    assert (code, printed) == (USER_ERROR, "")
    assert "--part: is of safetensors files; leave out --to, or --part" in err
    assert list(tmp_path.iterdir()) == []


def test_a_file_for_torch_that_normalizes(finished, tmp_path, capsys):
    out = tmp_path / "net.pt2"
    code, printed, err = call(capsys, "export", finished, "--to", "torch-export", "--normalize", "--out", out)
    assert (code, err) == (OK, "")
    assert "  # images: float32 [B, 1, 8, 8], pixels in [0, 1]" in printed.splitlines()
    assert torch.export.load(out).module()(torch.zeros(2, 1, 8, 8))["class_token"].shape == (2, 16)


@pytest.mark.parametrize("option", [("--normalize",), ("--opset", "18"), ("--license", "mit")])
def test_options_of_other_formats_are_refused(finished, tmp_path, capsys, option):
    code, printed, err = call(capsys, "export", finished, *option, "--out", tmp_path / "net.safetensors")
    assert (code, printed) == (USER_ERROR, "")
    assert f"{option[0]}: has no effect without --to; leave it out" in err
    assert list(tmp_path.iterdir()) == []
