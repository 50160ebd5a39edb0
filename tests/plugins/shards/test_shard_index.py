"""What a shard holds."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sslkit.errors import DataError
from sslkit.interfaces import Packed, Texts
from sslkit_shards.shard_index import KINDS, LabelPlace, index_of, key_and_ending
from tests.plugins.shards.tars import write_tar


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a.jpg", ("a", "jpg")),
        ("./d/e/a.left.JPG", ("d/e/a", "left.jpg")),
        ("d.1/a.cls", ("d.1/a", "cls")),
        ("noending", None),
        (".hidden", None),
        ("d/._a.jpg", None),
        ("__meta__.json", ("__meta__", "json")),
        ("__MACOSX/a.jpg", ("__MACOSX/a", "jpg")),
        ("__meta__/a.jpg", None),
    ],
)
def test_names_are_divided_as_webdataset_does(name, parts):
    assert key_and_ending(name) == parts


def indexed(path, label="cls"):
    content = path.read_bytes()
    place = None if label is None else LabelPlace.of(label)
    return index_of(lambda at, size: content[at : at + size], len(content), "t.tar", place)


def texts(arrays, name):
    return list(Texts(Packed(arrays[name], arrays[f"{name}_length"])))


def test_members_of_one_key_are_one_sample_wherever_they_stand(tmp_path):
    names = ["b.jpg", "a.jpg", "b.cls", "a.txt", "readme", "c.json", "a.cls"]
    path = write_tar(tmp_path / "t.tar", [(name, name.encode()) for name in names])
    arrays = indexed(path)
    assert {name: array.dtype.str[1:] for name, array in arrays.items()} == KINDS | {
        name: array.dtype.str[1:] for name, array in arrays.items() if name in ("key", "ending", "label")
    }
    assert texts(arrays, "key") == ["b", "a", "c"]
    assert texts(arrays, "ending") == ["jpg", "cls", "txt", "json"]
    assert arrays["sample"].tolist() == [0, 1, 0, 1, 2, 1]
    assert arrays["kind"].tolist() == [0, 0, 1, 2, 3, 1]
    assert texts(arrays, "label") == ["b.cls", "a.cls", ""]
    content = path.read_bytes()
    places = zip(arrays["offset"], arrays["size"], strict=True)
    assert [content[at : at + size].decode() for at, size in places] == [n for n in names if n != "readme"]


def test_a_shard_without_samples_has_empty_arrays(tmp_path):
    arrays = indexed(write_tar(tmp_path / "t.tar", []))
    assert all(len(array) == 0 for name, array in arrays.items() if name != "links")
    assert arrays["links"].tolist() == [0]


def test_two_members_of_one_ending_are_refused(tmp_path):
    path = write_tar(tmp_path / "t.tar", [("a.jpg", b"1"), ("b.jpg", b"2"), ("a.JPG", b"3")])
    with pytest.raises(DataError, match=r"t\.tar: has two members 'a\.JPG'; .* rename one"):
        indexed(path)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("cls", "7"),
        (".CLS", "7"),
        ("json:class", "cat"),
        ("json:info.number", "3"),
        ("json:yes", "True"),
        ("json:none", ""),
        ("json:info", ""),
        ("json:list", ""),
        ("json:absent.field", ""),
        ("bad:class", ""),
        ("bytes", ""),
        ("long", ""),
        (None, ""),
    ],
)
def test_labels_are_texts_of_members_or_fields_of_json(label, expected, tmp_path):
    fields = {"class": "cat", "info": {"number": 3}, "yes": True, "none": None, "list": [1]}
    members = {
        "jpg": b"",
        "cls": b"7\n",
        "json": json.dumps(fields).encode(),
        "bad": b"{not json",
        "bytes": b"\xff",
        "long": b"x" * 2000,
    }
    path = write_tar(tmp_path / "t.tar", [(f"a.{ending}", content) for ending, content in members.items()])
    assert texts(indexed(path, label), "label") == [expected]


def test_json_that_is_nested_without_end_is_no_label(tmp_path):
    path = write_tar(tmp_path / "t.tar", [("a.json", b"[" * 200_000)])
    assert texts(indexed(path, "json:class"), "label") == [""]
    assert np.array_equal(indexed(path, None)["size"], [200_000])
