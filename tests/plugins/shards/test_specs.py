"""What a spec of shards is told before anything is read."""

from __future__ import annotations

import pytest

from sslkit.errors import SpecError
from sslkit.specs.load import parse
from tests.plugins.shards.tars import write_shards
from tests.specs.valid import small


def checked(**fields):
    return parse(small(data={"kind": "webdataset", **fields}))


@pytest.fixture
def folder(tmp_path):
    write_shards(tmp_path / "train", [3, 3])
    write_shards(tmp_path / "test", [3], first=6)
    return tmp_path


def test_shards_are_looked_for(folder):
    spec = checked(shards=str(folder / "train"), test=[str(folder / "test/*.tar")], channels=1)
    assert spec.data.shards == str(folder / "train")
    assert spec.data.test == (str(folder / "test/*.tar"),)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shards": "{0}/nothing"}, r"data\.shards: .*nothing: no such shard"),
        ({"shards": ["{0}/train", "{0}/no.tar"]}, r"data\.shards\.1: .*no\.tar: no such shard"),
        ({"shards": "{0}/train", "test": "{0}/no.tar"}, r"data\.test: .*no\.tar: no such shard"),
        ({"shards": "{0}/a.tar.gz"}, r"data\.shards: .*no such shard"),
        ({"shards": "s3://b/a.tar.gz"}, r"data\.shards: .*is compressed"),
        ({"shards": "{0}/train", "test": "{0}/train/000001.tar"}, r"data\.test: .*training images too"),
        ({"shards": "{0}/train", "classes": "{0}/no.txt"}, r"data\.classes: .*no such file"),
        ({"shards": "{0}/train", "classes": "{0}/names.txt", "label": None}, r"data\.classes: .*no effect"),
        ({"shards": "{0}/train", "label": ":x"}, r"data\.label.*json:class"),
        ({"shards": "{0}/train", "label": "json:a..b"}, r"data\.label.*json:class"),
        ({"shards": "{0}/train", "image": ["png", "."]}, r"data\.image: must be text"),
        ({"shards": "{0}/train", "bands": [0, 1]}, r"data.*`bands` names 2 but channels is 3"),
        ({"shards": []}, r"data\.shards"),
    ],
)
def test_what_is_wrong_is_told_with_its_field(fields, message, folder):
    (folder / "a.tar.gz").mkdir()
    (folder / "names.txt").write_text("ant")
    placed = {
        name: [one.format(folder) for one in value] if name in ("shards", "test") and value != str(value) else
        value.format(folder) if name in ("shards", "test", "classes") else value
        for name, value in fields.items()
    }  # fmt: skip
    with pytest.raises(SpecError, match=message):
        checked(**placed)


def test_an_ending_is_a_text(folder):
    with pytest.raises(SpecError, match=r"data\.image.*(an ending is a text|must have at least 1 character)"):
        checked(shards=str(folder / "train"), image=["png", ""])
    assert checked(shards=str(folder / "train"), image=[".PNG"]).data.image == ("png",)


def test_a_compressed_file_is_refused(folder):
    path = folder / "b.tar.gz"
    path.write_bytes(b"\x1f\x8b")
    with pytest.raises(SpecError, match=r"data\.shards: .*b\.tar\.gz: is compressed.*sslkit data pack"):
        checked(shards=str(path))
