"""What `sslkit data pack` prints."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sslkit.analysis.image_data.data_fields import DataFields
from sslkit.analysis.packing.pack_images import Packed
from sslkit.analysis.packing.shard_writer import LeftOut, Written
from sslkit.cli.pack_text import as_json, pack_lines
from sslkit.specs.load import parse_as

MIB = 1 << 20


def written(split, number, images=10, size=MIB, left_out=()):
    return Written(f"{split}-{number:06d}.tar", split, images, size, "ab", tuple(left_out))


def lines(packed, **data):
    fields = parse_as(DataFields, {"data": data or {"kind": "digits"}}, "")
    return list(pack_lines(packed, Path("out"), fields))


def data_of(printed):
    return yaml.safe_load(printed[-1])["data"]


BOTH = Packed([written("train", 0), written("train", 1, 5, MIB // 2), written("test", 0, 1234)], ("a",), 3, 0)


def test_shards_are_counted_by_split():
    assert lines(BOTH)[:2] == [
        "train:  15 images in 2 shards, 1.5 MiB",
        "test:   1,234 images in 1 shards, 1.0 MiB",
    ]


def test_the_last_line_is_the_data_that_read_them():
    assert data_of(lines(BOTH)) == {
        "kind": "webdataset",
        "shards": "out/train-*.tar",
        "test": "out/test-*.tar",
    }
    alone = Packed([written("train", 0)], (), 1, 0)
    assert data_of(lines(alone)) == {
        "kind": "webdataset",
        "shards": "out/train-*.tar",
        "label": None,
        "channels": 1,
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [("alpha", "composite"), ("range", [0.0, 4095.0]), ("shrink", 64), ("bands", [2, 1, 0])],
)
def test_what_decides_pixels_is_kept(field, value, tmp_path):
    printed = data_of(lines(BOTH, kind="folder", root=str(tmp_path), **{field: value}))
    assert printed[field] == value
    assert "root" not in printed


def test_shards_that_were_there_already_are_told():
    assert "# 2 of the shards were there already" in lines(BOTH._replace(resumed=2))
    assert not any("already" in line for line in lines(BOTH))


def test_a_few_images_that_are_left_out_are_named():
    lost = [LeftOut(f"{i}.jpg", f"{i}.jpg: cannot be read") for i in range(5)]
    printed = lines(Packed([written("train", 0, left_out=lost)], ("a",), 3, 0))
    assert [line for line in printed if line.startswith("#")] == [
        "# left out: 0.jpg: cannot be read",
        "# left out: 1.jpg: cannot be read",
        "# left out: 2.jpg: cannot be read",
        "# and 2 more; shards.json names all",
    ]


def test_json_has_everything():
    lost = LeftOut("x.jpg", "x.jpg: cannot be read")
    content = as_json(Packed([written("train", 0, 3, left_out=[lost])], ("a", "b"), 3, 0))
    assert content["images"] == 3
    assert content["classes"] == ["a", "b"]
    assert content["left_out"] == [{"name": "x.jpg", "reason": "x.jpg: cannot be read"}]
    assert content["shards"][0]["name"] == "train-000000.tar"
