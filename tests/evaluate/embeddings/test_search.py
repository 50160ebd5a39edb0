"""The index of embeddings, and the images that are most like others."""

from __future__ import annotations

import json

import faiss
import numpy as np
import pytest
from PIL import Image

from sslkit import embed, load_embeddings
from sslkit.cli.main import OK, USER_ERROR
from sslkit.errors import CheckpointError, SpecError
from sslkit.evaluate.embeddings.embedding_index import open_index, write_index
from sslkit.train.launch import train
from tests import tiny
from tests.cli.specs import call
from tests.evaluate.embeddings.subjects import BROKEN, labeled, trained
from tests.train.test_trainer import silent


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Tests must not change it."""
    return trained(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def root(tmp_path):
    return labeled(tmp_path / "images", BROKEN)


@pytest.fixture
def index(run, root, tmp_path):
    options = {"workers": 0, "device": "cpu", "index": True}
    return embed(run, data=root, out=tmp_path / "e.parquet", **options).faiss_index


def test_the_index_is_one_of_faiss_with_cosines(index):
    values = load_embeddings(index.with_suffix("")).values
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    theirs = faiss.read_index(str(index))
    similarity, rows = theirs.search(unit, 3)
    expected = np.argsort(-(unit @ unit.T), axis=1, kind="stable")[:, :3]
    assert np.array_equal(rows, expected)
    np.testing.assert_allclose(similarity[:, 0], 1, atol=1e-5)


def test_the_nearest_images_are_printed_and_drawn(index, root, tmp_path, capsys):
    """An image of the index is nearest to itself, also past images that cannot be read."""
    wanted = [root / "dogs" / "0003.png", root / "cats" / "0002.png"]
    sheet = tmp_path / "sheet.png"
    code, printed, err = call(capsys, "search", index, *wanted, "-k", 3, "--out", sheet, "--device", "cpu")
    assert (code, err) == (OK, "")
    lines = printed.splitlines()
    assert len(lines) == 2 * 4 + 1
    assert [lines[0], lines[4]] == [str(wanted[1]), str(wanted[0])], "in order of paths"
    for line, name in ((lines[1], "cats/0002.png"), (lines[5], "dogs/0003.png")):
        assert line.split()[0] in ("1.0000", "0.9999")
        assert line.split()[1] == name
    assert lines[-1] == f"written: {sheet}"
    with Image.open(sheet) as picture:
        assert picture.size[0] > 4 * 100


def test_the_index_comes_after_the_embeddings_too(run, root, tmp_path):
    options = {"data": root, "out": tmp_path / "e.npy", "workers": 0, "device": "cpu"}
    first = embed(run, **options)
    assert first.faiss_index is None
    second = embed(run, **options, index=True)
    assert second.before == 22
    assert second.faiss_index == tmp_path / "e.npy.faiss"


def test_patch_tokens_have_no_index(run, root, tmp_path):
    options = {"data": root, "out": tmp_path / "e.npy", "workers": 0, "device": "cpu", "tokens": "patch"}
    with pytest.raises(SpecError, match="`index` is of one vector an image"):
        embed(run, **options, index=True)
    embed(run, **options)
    with pytest.raises(SpecError, match="holds patch tokens, and an index is of one vector an image"):
        write_index(tmp_path / "e.npy")


def test_a_damaged_index_does_not_reach_faiss(index, monkeypatch):
    content = bytearray(index.read_bytes())
    content[len(content) // 2] ^= 1
    index.write_bytes(content)
    monkeypatch.setattr(faiss, "read_index", None)
    with pytest.raises(CheckpointError, match=r"is damaged or another than e\.parquet\.faiss\.json says"):
        open_index(index)
    index.with_name(index.name + ".json").write_text(json.dumps({"format": "sslkit index 1"}))
    with pytest.raises(CheckpointError, match="`rows` is missing"):
        open_index(index)


def test_an_index_of_other_embeddings_is_refused(run, index, root, tmp_path):
    out = tmp_path / "e.parquet"
    out.unlink()
    embed(run, data=root / "cats", out=out, workers=0, device="cpu")
    with pytest.raises(CheckpointError, match="is of other embeddings than those beside it"):
        open_index(index)


REFUSED = [
    (["nowhere.faiss", "x.png"], "nowhere.faiss: no such index; `sslkit embed ... --index` writes one"),
    (["INDEX", "x.png"], "x.png: no such image"),
    (["INDEX", "IMAGE", "-k", "0"], "-k: must be at least 1, found 0"),
    (["INDEX", "IMAGE", "--out", "a.jpg"], "--out: a.jpg must end in .png"),
    (["INDEX", "BROKEN"], "0003.png"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "message"), REFUSED)
def test_what_cannot_be_searched_is_told(index, root, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    places = {"INDEX": index, "IMAGE": root / "cats" / "0000.png", "BROKEN": root / "cats" / "0003.png"}
    code, printed, err = call(
        capsys, "search", *(places.get(word, word) for word in words), "--device", "cpu"
    )
    assert (code, printed) == (USER_ERROR, "")
    assert message in err


def test_images_that_have_moved_are_named_by_data(index, root, tmp_path, capsys):
    moved = root.rename(tmp_path / "moved")
    words = ["search", index, moved / "cats" / "0001.png", "--out", tmp_path / "s.png", "--device", "cpu"]
    code, printed, err = call(capsys, *words)
    assert code == USER_ERROR
    assert "1.0000" in printed or "0.9999" in printed, "what was found is printed all the same"
    assert "images" in err
    code, printed, err = call(capsys, *words, "--data", moved)
    assert (code, err) == (OK, "")
    code, _, err = call(capsys, *words, "--data", moved / "dogs")
    assert code == USER_ERROR
    assert (
        "is no longer where the embeddings were taken from, or in another order; `--data` says where" in err
    )


def test_another_network_is_refused(index, root, tmp_path, capsys):
    other = train(tiny.spec(tmp_path / "other", steps=1, seed=4), silent)["paths"]["run"]
    words = ("search", index, root / "cats" / "0001.png", "--network", other, "--device", "cpu")
    code, _, err = call(capsys, *words)
    assert code == USER_ERROR
    assert "has other weights than the embeddings were taken with; name the network by `--network`" in err
