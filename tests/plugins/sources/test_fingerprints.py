"""What changes the fingerprint of a source, and what must not."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from sslkit import Folder, Parquet, Segmentation
from sslkit.core.fingerprint import PREFIX, fingerprint_of
from sslkit.core.source import Source
from sslkit.errors import PluginError
from sslkit_sources.resident_source import ResidentSource
from tests.plugins.sources.test_parquet import picture, write


def bitmap(path, seed):
    """Uncompressed: its size says nothing about its content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def root(tmp_path):
    for seed, name in enumerate(["a/1.bmp", "a/2.bmp", "b/3.bmp"]):
        bitmap(tmp_path / "data" / name, seed)
    return tmp_path / "data"


def of(spec, split="train"):
    source = spec.build(split)
    assert source.digests().shape == (len(source), 16)
    return source.fingerprint


def test_other_images_of_the_same_names_and_sizes(root, tmp_path):
    shutil.copytree(root, tmp_path / "other")
    assert of(Folder(root=tmp_path / "other")) == of(Folder(root=root))
    bitmap(tmp_path / "other" / "a" / "2.bmp", 9)
    assert (tmp_path / "other/a/2.bmp").stat().st_size == (root / "a/2.bmp").stat().st_size
    assert of(Folder(root=tmp_path / "other")) != of(Folder(root=root))


def test_an_image_overwritten_in_place_with_the_old_time(root):
    before, path = of(Folder(root=root)), root / "a" / "1.bmp"
    times = path.stat()
    bitmap(path, 9)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert of(Folder(root=root)) != before


def test_two_images_that_were_swapped(root):
    before = of(Folder(root=root))
    one, two = (root / "a/1.bmp").read_bytes(), (root / "b/3.bmp").read_bytes()
    (root / "a/1.bmp").write_bytes(two)
    (root / "b/3.bmp").write_bytes(one)
    assert of(Folder(root=root)) != before


def test_an_image_in_another_class(root):
    before = of(Folder(root=root))
    (root / "a/2.bmp").rename(root / "b/2.bmp")
    assert of(Folder(root=root)) != before


def test_classes_count_even_where_no_image_of_the_split_has_them(root, tmp_path):
    """Of a test split: predictions are among the training classes."""
    bitmap(tmp_path / "test" / "a" / "1.bmp", 5)
    spec = Folder(root=root, test=tmp_path / "test")
    before = of(spec, "test")
    bitmap(root / "c" / "9.bmp", 9)
    assert of(spec, "test") != before


@pytest.mark.parametrize("moved", [False, True])
def test_parquet_with_shuffled_labels_of_equal_length(tmp_path, moved):
    values = list(range(40))
    path = write(tmp_path / "x.parquet", values, [i % 2 for i in values])
    before, size = of(Parquet(files=path)), path.stat().st_size
    write(path, values, [i % 2 for i in reversed(values)])
    assert path.stat().st_size == size
    path = path.rename(tmp_path / "y.parquet") if moved else path
    assert of(Parquet(files=path)) != before


def test_parquet_images_attributes_and_their_order_count(tmp_path):
    path, seen = tmp_path / "x.parquet", set()
    spec = Parquet(files=path, attributes=("light",))
    for values, labels, light in (
        ([1, 2], [0, 1], ["day", "night"]),
        ([1, 3], [0, 1], ["day", "night"]),
        ([2, 1], [0, 1], ["day", "night"]),
        ([1, 2], [0, 1], ["night", "day"]),
        ([1, 2], [0, 1], ["day", "dusk"]),
        ([1, 2], [1, 1], ["day", "night"]),
    ):
        write(path, values, labels, light=light)
        seen.add(of(spec))
    assert len(seen) == 6


def test_parquet_stored_otherwise_is_the_same_data(tmp_path):
    table = pa.table({"image": [picture(i) for i in range(4)], "label": [0, 1, 0, 1]})
    pq.write_table(table, tmp_path / "one.parquet")
    pq.write_table(table, tmp_path / "two.parquet", compression="gzip", row_group_size=1)
    assert of(Parquet(files=tmp_path / "one.parquet")) == of(Parquet(files=tmp_path / "two.parquet"))


def test_an_empty_cell_has_a_digest(tmp_path):
    source = Parquet(files=write(tmp_path / "x.parquet", [1, None], [0, 1])).build("train")
    assert source.digests().any(1).tolist() == [True, False]


def test_masks_and_names_of_regions(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    bitmap(tmp_path / "images" / "1.bmp", 1)
    mask = np.zeros((8, 8), dtype=np.uint8)
    Image.fromarray(mask).save(tmp_path / "masks" / "1.png", compress_level=0)
    (tmp_path / "names.txt").write_text("sky\nsea\n")
    spec = Segmentation(root=tmp_path, regions=tmp_path / "names.txt")
    seen = {of(spec)}
    mask[0, 0] = 1
    Image.fromarray(mask).save(tmp_path / "masks" / "1.png", compress_level=0)
    seen.add(of(spec))
    (tmp_path / "names.txt").write_text("sea\nsky\n")
    seen.add(of(spec))
    assert len(seen) == 3


def resident(**changes):
    fields = {
        "images_NCHW": torch.arange(8, dtype=torch.uint8).reshape(2, 1, 2, 2),
        "labels_N": torch.tensor([0, 1]),
    }
    return ResidentSource(**{**fields, "classes": ("a", "b"), "title": "image", **changes})


def test_images_in_memory():
    changes = (
        {"images_NCHW": torch.zeros(2, 1, 2, 2, dtype=torch.uint8)},
        {"labels_N": torch.tensor([1, 0])},
        {"classes": ("b", "a")},
        {"images_NCHW": torch.arange(8, dtype=torch.uint8).reshape(2, 1, 1, 4)},
    )
    assert len({resident().fingerprint, *(resident(**change).fingerprint for change in changes)}) == 5
    assert resident(title="picture").fingerprint == resident().fingerprint
    digests = resident().digests()
    assert digests.shape == (2, 16)
    assert not np.array_equal(digests[0], digests[1])


class Minimal(Source):
    """A source of a third party that gives `digests` and leaves the rest to the base."""

    channels, labels, classes = 3, torch.tensor([0, 1]), ("a", "b")

    def __init__(self, **changes):
        vars(self).update(changes)

    def __len__(self):
        return 2

    def load(self, index):
        return torch.zeros(3, 2, 2, dtype=torch.uint8)

    def digests(self):
        return getattr(self, "hashes", np.arange(32, dtype=np.uint8).reshape(2, 16))


@pytest.mark.parametrize(
    "changes",
    [
        {"hashes": np.zeros((2, 16), np.uint8)},
        {"labels": torch.tensor([1, 0])},
        {"labels": None},
        {"classes": ("a", "c")},
        {"channels": 1},
        {"attributes": {"light": torch.tensor([0, 1])}},
        {"regions": ("sky",)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_the_base_makes_a_fingerprint_of_everything(changes):
    assert Minimal().fingerprint == Minimal().fingerprint
    assert Minimal().fingerprint.startswith(PREFIX)
    assert Minimal(**changes).fingerprint != Minimal().fingerprint
    assert fingerprint_of(Minimal(), "crop") != Minimal().fingerprint
    assert fingerprint_of(Minimal(), names=["x", "y"]) != fingerprint_of(Minimal(), names=["x", "z"])


def test_a_source_may_set_its_fingerprint_and_must_have_one():
    assert Minimal(fingerprint="mine").fingerprint == "mine"
    with pytest.raises(PluginError, match="Minimal: needs `digests`, or a `fingerprint` that it sets itself"):
        fingerprint_of(Minimal(digests=lambda: None))
