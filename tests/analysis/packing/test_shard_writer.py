"""One shard: its bytes, its members, what is left out."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile

import pytest
import torch

from sslkit.analysis.packing.pack_plan import Shard
from sslkit.analysis.packing.shard_writer import AbandonedError, write_shard
from sslkit.core.source import Source
from sslkit.errors import DataError, StorageError

CONTENTS = [b"zero", b"", b"x" * 512, b"y" * 513, b"four"]
BROKEN = 1


class Files(Source):
    """Five images as files, one of which cannot be read."""

    channels = 3
    classes = ("ant", "bee")
    labels = torch.tensor([0, 1, 1, 0, 1])

    def __len__(self):
        return len(CONTENTS)

    def load(self, index):
        raise AssertionError("files are copied")

    def encoded(self, index):
        if index == BROKEN:
            raise DataError(f"{self.name(index)}: cannot be read")
        return CONTENTS[index], self.name(index)

    def name(self, index):
        return f"folder/{index}.jpg"


class Described(Files):
    """With attributes, named and numbered, and without labels."""

    labels, classes = None, ()
    attributes = {"site": torch.tensor([1, 0, -1, 0, 1]), "age": torch.tensor([7, 8, 9, -1, 3])}  # noqa: RUF012
    attribute_values = {"site": ("north", "south")}  # noqa: RUF012


def shard(*indices, first=0):
    return Shard("train-000000.tar", "train", first, indices)


def nothing():
    """Between images."""


def read(path):
    with tarfile.open(path) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}


def test_members_are_image_label_and_json(tmp_path):
    write_shard(tmp_path, shard(4, 0), Files(), nothing)
    members = read(tmp_path / "train-000000.tar")
    assert list(members) == [f"00000000{i}.{ending}" for i in range(2) for ending in ("jpg", "cls", "json")]
    assert members["000000000.jpg"] == b"four"
    assert members["000000000.cls"] == b"1"
    assert json.loads(members["000000001.json"]) == {"class": "ant", "name": "folder/0.jpg"}


def test_attributes_are_named_where_their_values_are(tmp_path):
    write_shard(tmp_path, shard(0, 2, 3), Described(), nothing)
    members = read(tmp_path / "train-000000.tar")
    assert not any(name.endswith(".cls") for name in members)
    every = [json.loads(content) for name, content in members.items() if name.endswith(".json")]
    assert [one["attributes"] for one in every] == [
        {"age": 7, "site": "south"},
        {"age": 9, "site": None},
        {"age": None, "site": "north"},
    ]
    assert "class" not in every[0]


def test_keys_count_on_from_the_shard_before(tmp_path):
    write_shard(tmp_path, shard(2, 3, first=1234), Files(), nothing)
    assert [name for name in read(tmp_path / "train-000000.tar") if name.endswith(".jpg")] == [
        "000001234.jpg",
        "000001235.jpg",
    ]


def test_the_record_is_that_of_the_file(tmp_path):
    written = write_shard(tmp_path, shard(0, 2, 3, 4), Files(), nothing)
    content = (tmp_path / "train-000000.tar").read_bytes()
    assert (written.name, written.split, written.images) == ("train-000000.tar", "train", 4)
    assert written.bytes == len(content)
    assert written.sha256 == hashlib.sha256(content).hexdigest()
    assert len(content) % 512 == 0
    assert content[-1024:] == bytes(1024)


def test_bytes_depend_on_nothing_but_the_samples(tmp_path):
    for folder in ("a", "b"):
        write_shard(tmp_path / folder, shard(0, 2, 3), Files(), nothing)
    assert (tmp_path / "a/train-000000.tar").read_bytes() == (tmp_path / "b/train-000000.tar").read_bytes()
    with tarfile.open(fileobj=io.BytesIO((tmp_path / "a/train-000000.tar").read_bytes())) as tar:
        assert {(i.mtime, i.uid, i.gid, i.uname, i.gname, i.mode) for i in tar} == {(0, 0, 0, "", "", 0o644)}


def test_what_cannot_be_read_is_left_out_and_takes_its_key_along(tmp_path):
    written = write_shard(tmp_path, shard(0, BROKEN, 2), Files(), nothing)
    assert written.images == 2
    assert [tuple(lost) for lost in written.left_out] == [("folder/1.jpg", "folder/1.jpg: cannot be read")]
    assert [name for name in read(tmp_path / "train-000000.tar") if name.endswith(".jpg")] == [
        "000000000.jpg",
        "000000002.jpg",
    ]


def test_each_image_is_told_of_once(tmp_path):
    seen = []
    write_shard(tmp_path, shard(0, BROKEN, 2), Files(), lambda: seen.append(1))
    assert len(seen) == 3


def test_a_shard_that_is_abandoned_leaves_nothing(tmp_path):
    def leave():
        raise AbandonedError

    with pytest.raises(AbandonedError):
        write_shard(tmp_path, shard(0, 2), Files(), leave)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_and_leaves_nothing(disk):
    class Large(Files):
        def encoded(self, index):
            return bytes(8 << 20), self.name(index)

    with pytest.raises(StorageError, match=r"train-000000\.tar: could not be written: No space left"):
        write_shard(disk, shard(0), Large(), nothing)
    assert not list(disk.glob("*.tar"))
