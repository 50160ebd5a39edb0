"""Test splits drawn from the samples of shards."""

from __future__ import annotations

import json
import pickle

import pytest

from sslkit.errors import DataError, SpecError, SslkitWarning
from sslkit.specs.load import parse_as
from sslkit_shards.specs.webdataset import WebDataset
from tests.plugins.shards.tars import members_of, number_in, png, write_tar

COUNT = 40
pytestmark = pytest.mark.filterwarnings("ignore:data.split. .*another `seed` may do better")


def samples(numbers):
    return [
        (
            f"site{i % 5}/{i:03d}",
            {
                "png": png(i),
                "cls": b"%d" % (i // 8 % 2),
                "json": json.dumps({"about": {"patient": f"p{i % 8}"}}).encode(),
            },
        )
        for i in numbers
    ]


@pytest.fixture
def folder(tmp_path):
    write_tar(tmp_path / "data/0.tar", members_of(samples(range(25))))
    write_tar(tmp_path / "data/1.tar", members_of(samples(range(25, COUNT))))
    return tmp_path / "data"


def sides(folder, **fields):
    """The numbers of the images on both sides, each source checked for its labels."""
    by = fields.pop("by", "image")
    spec = WebDataset(shards=str(folder), channels=1, split={"test": 0.3, "seed": 1, "by": by}, **fields)
    sources = [spec.build(split) for split in ("train", "test")]
    numbers = [[number_in(source.load(i)) for i in range(len(source))] for source in sources]
    for source, some in zip(sources, numbers, strict=True):
        assert source.labels.tolist() == [i // 8 % 2 for i in some]
        assert source.classes == ("0", "1")
    return numbers


def test_each_sample_is_on_one_side_wherever_it_lies(folder, tmp_path):
    train, test = sides(folder)
    assert sorted(train + test) == list(range(COUNT))
    assert 4 <= len(test) <= 20
    write_tar(tmp_path / "other/a.tar", members_of(reversed(samples(range(COUNT)))))
    assert set(sides(tmp_path / "other")[1]) == set(test), "packing anew moves none"


def test_what_stays_together_is_on_one_side(folder):
    train, test = sides(folder, by="group", group="json:about.patient")
    assert sorted(train + test) == list(range(COUNT))
    assert not {i % 8 for i in train} & {i % 8 for i in test}
    train, test = sides(folder, by="folder")
    assert sorted(train + test) == list(range(COUNT))
    assert not {i % 5 for i in train} & {i % 5 for i in test}


def test_a_side_has_digests_a_fingerprint_and_blocks_of_its_own(folder):
    split = {"test": 0.3, "seed": 1}
    spec = WebDataset(shards=str(folder), channels=1, split=split, order="shards", window=1)
    whole = WebDataset(shards=str(folder), channels=1).build("train")
    train, test = spec.build("train"), spec.build("test")
    rows = {number_in(whole.load(i)): whole.digests()[i].tobytes() for i in range(COUNT)}
    for source in (train, test, pickle.loads(pickle.dumps(test))):
        numbers = [number_in(source.load(i)) for i in range(len(source))]
        assert [row.tobytes() for row in source.digests()] == [rows[i] for i in numbers]
        assert source.blocks.sizes == [sum(i < 25 for i in numbers), sum(i >= 25 for i in numbers)]
    assert len({whole.fingerprint, train.fingerprint, test.fingerprint}) == 3


def test_a_sample_without_a_group_or_folder_is_named(tmp_path):
    several = [("a", {"png": png(1)}), ("b/c", {"png": png(2)}), ("b/d", {"png": png(3)})]
    write_tar(tmp_path / "a.tar", members_of(several))
    fields = {"shards": str(tmp_path), "channels": 1, "label": None}
    spec = WebDataset(**fields, split={"test": 0.5, "by": "folder"})
    with pytest.raises(DataError, match=r"a\.tar/a\.png: has no folder in its key; `split` goes by folder"):
        spec.build("train")
    spec = WebDataset(**fields, split={"test": 0.5, "by": "group"}, group="json:patient")
    with pytest.raises(DataError, match=r"a\.tar/a\.png: has no text at `group: json:patient`"):
        spec.build("test")


def test_a_class_that_one_side_lacks_is_told(tmp_path):
    write_tar(tmp_path / "a.tar", members_of([(f"{i}", {"png": png(i), "cls": b"%d" % i}) for i in range(4)]))
    spec = WebDataset(shards=str(tmp_path), channels=1, split={"test": 0.5, "seed": 1})
    with pytest.warns(SslkitWarning, match="classes have no (test|training) image"):
        spec.build("train")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"split": {"test": 0.2}, "test": "b.tar"}, "`split` draws the test split from `shards`"),
        ({"split": {"test": 0.2, "by": "group"}}, "say with `group` where a sample has it"),
        ({"split": {"test": 0.2, "by": "group"}, "group": ":x"}, "json:class"),
    ],
)
def test_fields_that_do_not_fit_are_refused(fields, message):
    with pytest.raises(SpecError, match=message):
        parse_as(WebDataset, {"kind": "webdataset", "shards": "a.tar", **fields})
