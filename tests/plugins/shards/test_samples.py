"""Samples of several shards joined, and which of their members are images."""

from __future__ import annotations

import pytest

from sslkit.errors import DataError
from sslkit_shards.samples import images_of, joined
from sslkit_shards.shard_files import ShardFiles
from sslkit_shards.shard_index import LabelPlace, index_of
from tests.plugins.shards.tars import members_of, write_tar

FIRST = [
    ("a", {"jpg": b"a1", "cls": b"0"}),
    ("b", {"cls": b"1", "jpg": b"b1"}),
]
SECOND = [
    ("c", {"txt": b"c", "png": b"c1"}),
    ("a", {"png": b"a2", "jpg": b"a3", "cls": b"2"}),
]
"""Other endings in another order than in the first, and a key that it has too."""


@pytest.fixture
def shards(tmp_path):
    """(index of each shard, the shards, what each holds)."""
    paths = [
        write_tar(tmp_path / f"{i}.tar", members_of(samples)) for i, samples in enumerate((FIRST, SECOND))
    ]
    contents = [path.read_bytes() for path in paths]
    arrays = [
        index_of(
            lambda at, size, content=content: content[at : at + size], len(content), "t", LabelPlace.of("cls")
        )
        for content in contents
    ]
    return arrays, ShardFiles([str(path) for path in paths]), contents


def stored(samples, contents, members):
    """What members hold."""
    shards = [samples.shard(int(samples.sample[m])) for m in members]
    places = [(int(samples.offset[m]), int(samples.size[m])) for m in members]
    return [contents[shard][at : at + size] for shard, (at, size) in zip(shards, places, strict=True)]


def test_samples_of_all_shards_are_counted_through(shards):
    samples = joined(shards[0])
    assert list(samples.keys) == ["a", "b", "c", "a"]
    assert list(samples.labels) == ["0", "1", "", "2"]
    assert samples.begin.tolist() == [0, 2, 4]
    assert samples.endings == ("jpg", "cls", "txt", "png")
    assert samples.sample.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 3]
    assert [samples.shard(sample) for sample in range(4)] == [0, 0, 1, 1]


def test_members_are_read_where_they_are(shards):
    arrays, _, contents = shards
    samples = joined(arrays)
    whole = stored(samples, contents, range(len(samples.sample)))
    assert whole == [b"a1", b"0", b"1", b"b1", b"c", b"c1", b"a2", b"a3", b"2"]


@pytest.mark.parametrize(
    ("sample", "ending", "content"),
    [
        (0, "jpg", b"a1"),
        (1, "cls", b"1"),
        (2, "txt", b"c"),
        (2, "cls", None),
        (3, "png", b"a2"),
        (0, "no", None),
    ],
)
def test_a_member_is_looked_up_by_sample_and_ending(sample, ending, content, shards):
    arrays, _, contents = shards
    samples = joined(arrays)
    member = samples.member(sample, ending)
    assert (None if member is None else stored(samples, contents, [member])[0]) == content


@pytest.mark.parametrize(
    ("endings", "images", "note"),
    [
        (
            ("jpg",),
            [b"a1", b"b1", b"a3"],
            "1.tar: sample 'c' has no image and is left out, as are 0 more of 4",
        ),
        (("png", "jpg"), [b"a1", b"b1", b"c1", b"a2"], ""),
        (("jpg", "png"), [b"a1", b"b1", b"c1", b"a3"], ""),
        (("txt",), [b"c"], "0.tar: sample 'a' has no image and is left out, as are 2 more of 4"),
    ],
)
def test_the_image_is_the_first_ending_that_a_sample_has(endings, images, note, shards):
    arrays, files, contents = shards
    samples = joined(arrays)
    members, text = images_of(samples, endings, files)
    assert stored(samples, contents, members) == images
    assert text.endswith(note) if note else not text


def test_without_a_choice_several_images_are_refused(shards):
    arrays, files, _ = shards
    with pytest.raises(
        DataError, match=r"1\.tar: sample 'a' has several images \(\.png, \.jpg\).*image: png"
    ):
        images_of(joined(arrays), (), files)
    members, text = images_of(joined(arrays[:1]), (), files)
    assert (len(members), text) == (2, "")


def test_an_ending_that_no_sample_has_is_refused(shards):
    arrays, files, _ = shards
    with pytest.raises(
        DataError, match=r"no sample with an image \(\.webp\); its samples have \.jpg, \.cls, \.txt"
    ):
        images_of(joined(arrays), ("webp",), files)
