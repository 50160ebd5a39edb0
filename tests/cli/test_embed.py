"""`sslkit embed`."""

from __future__ import annotations

import pytest

from sslkit import load_embeddings
from sslkit.cli.main import OK, USER_ERROR
from tests.cli.specs import call
from tests.evaluate.embeddings.subjects import BROKEN, labeled, trained


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Tests must not change it."""
    return trained(tmp_path_factory.mktemp("runs") / "run")


def test_what_was_written_is_printed(run, tmp_path, capsys):
    root, out = labeled(tmp_path / "images", BROKEN), tmp_path / "e.parquet"
    words = (
        "embed",
        run,
        "--data",
        root,
        "--out",
        out,
        "--workers",
        0,
        "--device",
        "cpu",
        "--dtype",
        "float16",
    )
    code, printed, err = call(capsys, *words)
    assert (code, err) == (OK, "")
    lines = printed.splitlines()
    assert lines[0] == "17 of 22 images: 17 x 16 float16"
    assert lines[1].startswith("5 images could not be read and have no row: ")
    assert lines[1].endswith("; ...")
    assert lines[2:] == [f"written: {out}"]
    assert call(capsys, *words)[1].startswith("17 of 22 images, 22 of them before: 17 x 16 float16")


def test_every_option_arrives(run, tmp_path, capsys):
    out = tmp_path / "e.npy"
    options = "--tokens patch --layer 0 --checkpoint last --split test --size 16 --batch-size 100"
    code, _, err = call(
        capsys, "embed", run, "--out", out, *options.split(), "--device", "cpu", "--workers", 0
    )
    assert (code, err) == (OK, "")
    about = load_embeddings(out).about
    assert (about.tokens, about.layer, about.split, about.view.size, about.batch_size) == (
        "patch",
        0,
        "test",
        16,
        100,
    )
    assert about.shape == (16, 16)
    assert about.unreadable == ()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere", "--out", "e.npy"], "error: nowhere: no such run folder or exported file"),
        (["timm:test_vit", "--out", "e.npy"], "error: data: must be given where no run says which images"),
        (["timm:test_vit", "--out", "e.txt"], "must be a file that ends in .parquet, .npy or .safetensors"),
        (["timm:test_vit", "--out", "e.npy", "--size", "0"], "size"),
    ],
)
def test_what_cannot_be_done_is_refused(capsys, monkeypatch, tmp_path, words, message):
    monkeypatch.chdir(tmp_path)
    code, printed, err = call(capsys, "embed", *words)
    assert (code, printed) == (USER_ERROR, "")
    assert message in err
    assert list(tmp_path.iterdir()) == []
