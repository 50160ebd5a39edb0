"""Labels from texts."""

from __future__ import annotations

import pytest

from sslkit.errors import DataError
from sslkit_shards.sample_labels import class_file, classes_of, numbers_of


def test_numbers_count_and_names_are_sorted():
    assert classes_of(["3", "0", "03"], 10, "t") == ("0", "1", "2", "3")
    assert classes_of(["dog", "cat", "dog", "7"], 10, "t") == ("7", "cat", "dog")
    with pytest.raises(
        DataError, match=r"t: has the label 10, and 2 different labels .*max_classes=10.*label: null"
    ):
        classes_of(["10", "0"], 10, "t")


def test_labels_are_places_among_classes():
    name = "sample {}".format
    assert numbers_of(["2", "02", "0"], ("0", "1", "2"), name).tolist() == [2, 2, 0]
    assert numbers_of(["dog", "1", "cat"], ("cat", "dog"), name).tolist() == [1, 1, 0]
    assert numbers_of(["10", "2"], ("10", "2"), name).tolist() == [0, 1], "a name before a place"


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["0", "5"], "sample 1: the label '5' is none of the 2 classes of the training images: cat, dog"),
        (["0", "", ""], r"sample 1: has no label \(2 of 3 samples have none\); .*json:class.*label: null"),
    ],
)
def test_labels_that_are_no_class_are_told_with_the_sample(texts, message):
    with pytest.raises(DataError, match=message):
        numbers_of(texts, ("cat", "dog"), "sample {}".format)


def test_names_of_classes_come_from_a_file(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("cat\n\n dog \n")
    assert class_file(path) == ("cat", "dog")
    path.write_text("cat\ncat\n")
    with pytest.raises(DataError, match="names 2 classes, 1 of them different"):
        class_file(path)
    path.write_text("\n")
    with pytest.raises(DataError, match="names 0 classes"):
        class_file(path)
