"""Equal images within and between splits."""

from __future__ import annotations

import shutil

import pytest

from sslkit.analysis.image_data.duplicate_images import duplicates
from sslkit.analysis.image_data.image_statistics import image_statistics
from tests.analysis.image_data.samples import arrays, fields, save
from tests.fakes_train import MadeSource, pictures


@pytest.fixture
def two(tmp_path):
    """Training images of which 1 is a copy of 0, and test images of which one is 2 of those."""
    train, test = save(tmp_path / "train", arrays(6)), save(tmp_path / "test", arrays(4, seed=1))
    shutil.copy(train / "class0" / "000.png", train / "class1" / "copy.png")
    shutil.copy(train / "class0" / "002.png", test / "class1" / "leak.png")
    return train, test


def test_copies_are_found_whatever_they_are_called(two):
    copies = image_statistics(fields(*two)).duplicates
    assert [[copy.name for copy in group] for group in copies.within["train"]] == [
        ["class0/000.png", "class1/copy.png"]
    ]
    assert copies.within["test"] == []
    assert [[copy[::2] for copy in group] for group in copies.between] == [
        [("train", "class0/002.png"), ("test", "class1/leak.png")]
    ]
    assert (copies.surplus("train"), copies.leaked(), copies.unknown) == (1, 1, [])


def test_there_may_be_none(tmp_path):
    copies = image_statistics(fields(save(tmp_path / "images", arrays(5)))).duplicates
    assert copies == ({"train": []}, [], [])


def test_files_that_cannot_be_read_are_no_copies_of_each_other(tmp_path):
    root = save(tmp_path / "images", arrays(4))
    source = fields(root).data.build("train")
    for name in ("000.png", "002.png"):
        (root / "class0" / name).unlink()
    assert duplicates({"train": source}).within == {"train": []}


def test_a_source_without_digests_is_named():
    copies = duplicates({"train": MadeSource(pictures(3))})
    assert copies == ({}, [], ["train"])
