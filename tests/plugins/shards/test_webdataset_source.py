"""Images of samples in shards, with labels."""

from __future__ import annotations

import json
import pickle
import re
import warnings

import pytest
import torch

from sslkit.errors import DataError, SslkitWarning
from sslkit_shards.specs.webdataset import WebDataset
from sslkit_shards.webdataset_source import CLASSES
from tests.plugins.shards.tars import members_of, number_in, png, sample, write_shards, write_tar

COUNTS = (5, 1, 3)


@pytest.fixture
def folder(tmp_path):
    write_shards(tmp_path, COUNTS)
    return tmp_path


def built(shards, split="train", **fields):
    return WebDataset(shards=str(shards), channels=1, **fields).build(split)


def numbers(source):
    """What the pictures of a source say that they are."""
    return [number_in(source.load(i)) for i in range(len(source))]


def test_samples_come_in_the_order_of_shards(folder):
    source = built(folder)
    assert numbers(source) == list(range(9))
    assert source.labels.tolist() == [i % 4 for i in range(9)]
    assert source.labels.dtype == torch.int64
    assert source.classes == ("0", "1", "2", "3")
    assert source.load(3).shape == (1, 8, 8)
    assert [source.name(i) for i in (0, 5, 8)] == [
        f"{folder}/000000.tar/00000.png",
        f"{folder}/000001.tar/00005.png",
        f"{folder}/000002.tar/00008.png",
    ]


def test_places_file_urls_and_stores_give_the_same_images(folder):
    from fsspec import filesystem

    for path in folder.glob("*.tar"):
        filesystem("memory").pipe(f"/same/{path.name}", path.read_bytes())
    here, url = built(folder), built(f"file://{folder}")
    stored = built("memory://same/{000000..000002}.tar")
    assert numbers(here) == numbers(url) == numbers(stored) == list(range(9))
    assert here.fingerprint == url.fingerprint
    assert torch.equal(stored.labels, here.labels)
    assert stored.name(8) == "memory://same/000002.tar/00008.png"
    assert re.fullmatch("content:[0-9a-f]{32}", stored.fingerprint)


def test_several_images_a_sample_ask_which(tmp_path):
    samples = [(f"{i}", {"left.png": png(i), "right.png": png(10 + i), "cls": b"0"}) for i in range(3)]
    write_tar(tmp_path / "a.tar", members_of(samples))
    with pytest.raises(
        DataError,
        match=r"a\.tar: sample '0' has several images \(\.left\.png, \.right\.png\).*image: left\.png",
    ):
        built(tmp_path)
    assert numbers(built(tmp_path, image="left.png")) == [0, 1, 2]
    assert numbers(built(tmp_path, image=".RIGHT.png")) == [10, 11, 12]
    assert built(tmp_path, image="left.png").fingerprint != built(tmp_path, image="right.png").fingerprint


def test_the_first_ending_that_a_sample_has_is_its_image(tmp_path):
    samples = [("a", {"png": png(1), "webp": png(2)}), ("b", {"webp": png(3)}), ("c", {"png": png(4)})]
    write_tar(tmp_path / "a.tar", members_of(samples))
    assert numbers(built(tmp_path, image=("webp", "png"), label=None)) == [2, 3, 4]
    assert numbers(built(tmp_path, image=("png", "webp"), label=None)) == [1, 3, 4]


def test_samples_without_an_image_are_left_out_and_told(tmp_path):
    samples = [("a", sample(1)), ("b", {"txt": b"only text"}), ("c", sample(3)), ("d", {"cls": b"1"})]
    write_tar(tmp_path / "a.tar", members_of(samples))
    with pytest.warns(SslkitWarning, match=r"sample 'b' has no image and is left out, as are 1 more of 4"):
        source = built(tmp_path)
    assert numbers(source) == [1, 3]
    assert source.labels.tolist() == [1, 3]


def test_shards_without_any_image_are_refused(tmp_path):
    write_tar(tmp_path / "a.tar", members_of([("a", {"txt": b"x", "cls": b"0"})]))
    with pytest.raises(DataError, match=r"holds no sample with an image .*its samples have \.txt, \.cls"):
        built(tmp_path)
    write_tar(tmp_path / "a.tar", [])
    with pytest.raises(DataError, match="its samples have no members"):
        built(tmp_path)


def test_links_are_told(tmp_path):
    import tarfile

    path = write_tar(tmp_path / "a.tar", members_of([("a", sample(1))]))
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("b.png")
        link.type, link.linkname = tarfile.LNKTYPE, "a.png"
        tar.addfile(link)
    with pytest.warns(SslkitWarning, match=r"1 members are links, which are not read"):
        assert len(built(tmp_path)) == 1


def test_names_are_labels_and_tests_have_the_classes_of_training(tmp_path):
    for name, words in (("train", ["cat", "ant", "cat"]), ("test", ["cat"])):
        members = [
            (f"{name}{i}", {"png": png(i), "json": json.dumps({"a": {"word": w}}).encode()})
            for i, w in enumerate(words)
        ]
        write_tar(tmp_path / f"{name}.tar", members_of(members))
    spec = WebDataset(
        shards=str(tmp_path / "train.tar"), test=str(tmp_path / "test.tar"), label="json:a.word", channels=1
    )
    train, test = spec.build("train"), spec.build("test")
    assert (train.labels.tolist(), train.classes) == ([1, 0, 1], ("ant", "cat"))
    assert (test.labels.tolist(), test.classes) == ([1], ("ant", "cat"))
    assert WebDataset(shards=str(tmp_path / "train.tar"), label=None, channels=1).build("test") is None


def test_a_test_label_that_no_training_image_has_is_refused(tmp_path):
    write_shards(tmp_path / "train", [2])
    write_shards(tmp_path / "test", [2], first=2)
    spec = WebDataset(shards=str(tmp_path / "train"), test=str(tmp_path / "test"), channels=1)
    with pytest.raises(DataError, match=r"000000\.tar/00002\.png: the label '2' is none of the 2 classes"):
        spec.build("test")


def test_classes_beside_the_shards_name_numbers(folder, tmp_path):
    (folder / CLASSES).write_text("ant\nbee\ncat\ndog\nemu\n")
    assert built(folder).classes == ("ant", "bee", "cat", "dog", "emu")
    other = tmp_path / "names.txt"
    other.write_text("a\nb\nc\nd\n")
    assert built(folder, classes=other).classes == ("a", "b", "c", "d")
    other.write_text("a\nb\n")
    with pytest.raises(DataError, match=r"00002\.png: the label '2' is none of the 2 classes"):
        built(folder, classes=other)


def test_samples_without_a_label_are_refused_or_read_without_labels(tmp_path):
    write_tar(tmp_path / "a.tar", members_of([("a", {"png": png(1)}), ("b", sample(2))]))
    with pytest.raises(DataError, match=r"a\.tar/a\.png: has no label \(1 of 2 samples have none\)"):
        built(tmp_path)
    source = built(tmp_path, label=None)
    assert (source.labels, source.classes) == (None, ())


def test_other_members_of_a_sample_can_be_read(tmp_path):
    samples = [("a", sample(1, txt="a dög")), ("b", sample(2)), ("c", sample(3, txt="three"))]
    write_tar(tmp_path / "a.tar", members_of(samples))
    source = built(tmp_path)
    assert [source.text(i, "txt") for i in range(3)] == ["a dög", None, "three"]
    assert source.text(1, "cls") == "2"


def test_a_damaged_image_is_one_unreadable_image(folder):
    path = folder / "000000.tar"
    content = bytearray(path.read_bytes())
    at = content.index(png(2))
    content[at + 8 : at + 40] = bytes(32)
    path.write_bytes(content)
    source = built(folder)
    with pytest.raises(DataError, match=r"000000\.tar/00002\.png: cannot be decoded"):
        source.load(2)
    assert [number_in(source.load(i)) for i in (1, 3)] == [1, 3]


def test_a_damaged_shard_is_refused_by_name(folder):
    path = folder / "000002.tar"
    path.write_bytes(path.read_bytes()[:-12_000])
    with pytest.raises(DataError, match=r"000002\.tar: .*cut off or damaged"):
        built(folder)


def test_fingerprints_tell_contents_keys_labels_and_settings_apart(folder, tmp_path):
    first = built(folder).fingerprint
    assert built(folder).fingerprint == first
    assert built(folder, label=None).fingerprint != first
    assert built(folder, alpha="composite").fingerprint != first
    moved = tmp_path / "moved"
    write_shards(moved, [4, 5], name="other-{}.tar")
    assert built(moved).fingerprint == first, "other names and cuts of shards are no other content"
    write_tar(moved / "other-0.tar", members_of([(f"{i:05d}", sample(i)) for i in (0, 1, 2, 7)]))
    assert built(moved).fingerprint != first


def test_digests_tell_which_image_changed(folder):
    before = built(folder).digests()
    samples = [(f"{i:05d}", sample(i)) for i in range(5)]
    samples[3] = ("00003", {"png": png(99), "cls": b"3"})
    write_tar(folder / "000000.tar", members_of(samples))
    changed = (built(folder).digests() != before).any(1)
    assert before.shape == (9, 16)
    assert changed.tolist() == [i == 3 for i in range(9)]


def test_a_source_travels_to_workers(folder):
    source = built(folder)
    source.load(0)
    again = pickle.loads(pickle.dumps(source))
    assert numbers(again) == numbers(source)


def test_nothing_is_warned_of_shards_that_are_right(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(built(folder)) == sum(COUNTS)
