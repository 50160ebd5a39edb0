"""What a run says has changed in its data: images by content, classes by name, whatever files are called."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sslkit.core.source import Source
from sslkit.train.data_record import FOLDER, differences, recorded, write_list

PETS = ("cats", "dogs")


class Album(Source):
    """Images by (name, content, class)."""

    channels = 1

    def __init__(self, *images, classes=PETS, digests=True):
        self.images, self.classes, self.has_digests = images, tuple(classes), digests
        places = [classes.index(label) for _, _, label in images if label]
        self.labels = torch.tensor(places) if places else None

    def __len__(self):
        return len(self.images)

    def load(self, index):
        return torch.zeros(1, 2, 2, dtype=torch.uint8)

    def name(self, index):
        return self.images[index][0]

    def digests(self):
        if not self.has_digests:
            return None
        values = [hashlib.md5(text.encode(), usedforsecurity=False).digest() for _, text, _ in self.images]
        return np.frombuffer(b"".join(values), np.uint8).reshape(-1, 16)

    @property
    def fingerprint(self):
        return str((self.images, self.classes))


A, B, C = ("a.png", "apple", "cats"), ("b.png", "bread", "dogs"), ("c.png", "cheese", "cats")


def changes(tmp_path, then, now):
    write_list(tmp_path, "data.train", then)
    return differences(tmp_path, "data.train", now, recorded(then))


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (Album(A, B, C), []),
        (Album(A, B, C, ("d.png", "dates", "dogs")), ["1 image added (d.png)", "3 images then, 4 now"]),
        (Album(A, C), ["1 image removed (b.png)", "3 images then, 2 now"]),
        (Album(A, ("b.png", "butter", "dogs"), C), ["1 image edited (b.png)"]),
        (Album(A, ("b.png", "bread", "cats"), C), ["1 image relabeled (b.png)"]),
        (Album(B, A, C), ["the images are in another order"]),
        (Album(("z.png", "apple", "cats"), B, C), ["the images have other names"]),
        (Album(A, B, C, classes=PETS[::-1]), ["the classes are in another order"]),
        (Album(A, B, C, classes=(*PETS, "emus")), ["1 class added (emus)"]),
        (
            Album(("a.png", "apple", "birds"), B, ("c.png", "cheese", "birds"), classes=("birds", "dogs")),
            ["2 images relabeled (a.png, c.png)", "1 class added (birds)", "1 class removed (cats)"],
        ),
    ],
)
def test_each_change_has_its_word(tmp_path, now, expected):
    assert changes(tmp_path, Album(A, B, C), now) == expected


def test_a_fourth_example_is_dots(tmp_path):
    extra = [(f"{i}.png", str(i), "cats") for i in range(4)]
    (added, count) = changes(tmp_path, Album(A), Album(A, *extra))
    assert added == "4 images added (0.png, 1.png, 2.png, ...)"
    assert count == "1 images then, 5 now"


def test_of_equal_images_as_many_are_named_as_are_too_many(tmp_path):
    twice = ("copy.png", "apple", "cats")
    assert changes(tmp_path, Album(A), Album(A, twice))[0] == "1 image added (copy.png)"
    assert changes(tmp_path, Album(A, twice), Album(twice))[0] == "1 image removed (a.png)"


def test_an_edited_image_that_swaps_names_with_another_is_no_edit(tmp_path):
    swapped = Album(("a.png", "bread", "dogs"), ("b.png", "apple", "cats"), C)
    assert changes(tmp_path, Album(A, B, C), swapped) == ["the images are in another order"]


def test_images_without_labels(tmp_path):
    plain = [(name, text, "") for name, text, _ in (A, B)]
    now = Album(*plain, ("c.png", "cheese", ""), classes=())
    assert changes(tmp_path, Album(*plain, classes=()), now)[0] == "1 image added (c.png)"


def test_names_of_any_bytes_come_back(tmp_path):
    odd = ("a\udcff é\n.png", "apple", "cats")
    write_list(tmp_path, "data.train", Album(odd, B))
    then = recorded(Album(odd, B))
    (line, _) = differences(tmp_path, "data.train", Album(B), then)
    assert odd[0] in line


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"no archive")])
def test_without_its_list_only_the_numbers_are_told(tmp_path, damage):
    then = Album(A, B, C)
    write_list(tmp_path, "data.train", then)
    damage(tmp_path / FOLDER / "data.train.npz")
    assert differences(tmp_path, "data.train", Album(A), recorded(then)) == ["3 images then, 1 now"]
    same_number = Album(A, B, ("d.png", "dates", "dogs"))
    lines = differences(tmp_path, "data.train", same_number, recorded(then))
    assert lines == ["its images, labels or settings are others"]


def test_a_source_without_digests_leaves_no_list_and_takes_an_old_one_away(tmp_path):
    write_list(tmp_path, "data.train", Album(A, B))
    path = tmp_path / FOLDER / "data.train.npz"
    assert path.is_file()
    write_list(tmp_path, "data.train", Album(A, digests=False))
    assert not path.exists()
    lines = differences(tmp_path, "data.train", Album(A, digests=False), recorded(Album(A, B)))
    assert lines == ["2 images then, 1 now"]


ALBUMS = st.lists(
    st.tuples(st.sampled_from("123456"), st.sampled_from("xyz"), st.sampled_from(PETS)),
    max_size=6,
    unique_by=lambda image: image[0],
)


@given(ALBUMS, ALBUMS)
def test_any_change_is_told_and_no_change_is_silent(tmp_path_factory, then, now):
    before, after = Album(*then), Album(*now)
    lines = changes(tmp_path_factory.mktemp("run"), before, after)
    assert (lines == []) == (before.fingerprint == after.fingerprint)
    contents = [sorted(text for _, text, _ in album) for album in (then, now)]
    moved = [line for line in lines if " added (" in line or " removed (" in line or " edited (" in line]
    assert bool(moved) == (contents[0] != contents[1])
