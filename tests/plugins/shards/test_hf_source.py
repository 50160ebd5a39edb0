"""Images of Hugging Face data sets: from disk and by builders, as files, paths and arrays."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from sslkit.errors import DataError
from sslkit_shards.specs.hf import HuggingFace
from tests.plugins.shards.hf_sets import CLASSES, dataset_of, datasets, save
from tests.plugins.shards.tars import number_in, png


def build(path, side="train", **fields):
    return HuggingFace(path=str(path), channels=1, **fields).build(side)


def numbers(source):
    return [number_in(source.load(i)) for i in range(len(source))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A training split of seven images and a test split of three."""
    folder = tmp_path_factory.mktemp("hf") / "set"
    groups = [f"p{i // 2}" for i in range(7)]
    train = dataset_of([png(i) for i in range(7)], patient=groups, caption=[f"number {i}" for i in range(7)])
    train = train.add_column("captions", [["one", "two"] if i else None for i in range(7)])
    datasets.DatasetDict(train=train, test=dataset_of([png(i) for i in (20, 21, 22)])).save_to_disk(
        str(folder)
    )
    return folder


def test_rows_are_images_with_names_of_classes(folder):
    source = build(folder)
    assert numbers(source) == list(range(7))
    assert source.labels.tolist() == [0, 1, 2, 3, 0, 1, 2]
    assert source.classes == tuple(CLASSES)
    assert source.name(3) == f"{folder} train row 3"
    assert source.encoded(3) == (png(3), source.name(3))


def test_splits(folder):
    assert build(folder, "test") is None
    test = build(folder, "test", test="test")
    assert numbers(test) == [20, 21, 22]
    assert test.classes == tuple(CLASSES)
    with pytest.raises(DataError, match="has no split 'val'; it has train, test"):
        build(folder, "test", test="val")
    with pytest.raises(DataError, match="holds one split, named `train` here"):
        build(folder / "train", "test", test="test")
    with pytest.raises(DataError, match="leave both out"):
        build(folder, config="small")


@pytest.mark.filterwarnings("ignore:data.split")
def test_a_drawn_split_goes_by_content_or_group(folder):
    sides = [build(folder, side, split={"test": 0.4, "seed": 2}) for side in ("train", "test")]
    assert sorted(numbers(sides[0]) + numbers(sides[1])) == list(range(7))
    drawn = {"split": {"test": 0.5, "by": "group", "seed": 1}, "group_column": "patient"}
    train, test = (build(folder, side, **drawn) for side in ("train", "test"))
    assert sorted(numbers(train) + numbers(test)) == list(range(7))
    assert {i // 2 for i in numbers(train)}.isdisjoint(i // 2 for i in numbers(test))
    assert test.labels.tolist() == [i % 4 for i in numbers(test)]
    assert test.encoded(0)[1].endswith(f"row {numbers(test)[0]}")


@pytest.mark.filterwarnings("ignore:data.split")
def test_a_row_without_group_is_named(tmp_path):
    dataset_of([png(0), png(1)], patient=["a", None]).save_to_disk(str(tmp_path / "x"))
    with pytest.raises(DataError, match="train row 1: has no group in the column 'patient'"):
        build(tmp_path / "x", split={"test": 0.5, "by": "group"}, group_column="patient")


def test_texts_of_other_columns(folder):
    source = build(folder)
    assert source.text(3, "caption") == "number 3"
    assert source.text(3, "captions") == "one\ntwo"
    assert source.text(0, "captions") is None
    with pytest.raises(DataError, match="has no column 'no'; it has image, label, patient, caption"):
        source.text(0, "no")


def test_the_fingerprint_is_of_content(folder, tmp_path):
    first = build(folder).fingerprint
    rows = datasets.load_from_disk(str(folder))["train"]
    rows.save_to_disk(str(tmp_path / "more"), num_shards=3)
    assert build(tmp_path / "more").fingerprint == first, "however many files there are"
    assert build(folder, label_column=None).fingerprint != first
    rows.select([1, 0, 2, 3, 4, 5, 6]).save_to_disk(str(tmp_path / "turned"))
    assert build(tmp_path / "turned").fingerprint != first


def test_another_content_at_the_same_place_has_another_fingerprint(tmp_path):
    prints = set()
    for first in (0, 1):
        dataset_of([png(first), png(2)]).save_to_disk(str(tmp_path / "x"))
        prints.add(build(tmp_path / "x").fingerprint)
    assert len(prints) == 2


def test_a_pickled_source_is_small_and_equal(folder):
    source = build(folder)
    sent = pickle.dumps(source)
    received = pickle.loads(sent)
    assert len(sent) < 20_000
    assert torch.equal(received.load(5), source.load(5))
    assert received.fingerprint == source.fingerprint


def test_images_that_cannot_be_read_are_named(tmp_path):
    dataset_of([png(0), b"junk", None]).save_to_disk(str(tmp_path / "x"))
    source = build(tmp_path / "x")
    with pytest.raises(DataError, match="x train row 1: cannot be decoded: it is not an image"):
        source.load(1)
    with pytest.raises(DataError, match="x train row 2: holds no image"):
        source.load(2)
    assert not source.digests()[2].any()
    assert source.digests()[:2].any(1).all()


def test_a_folder_of_a_builder_and_files_behind_its_paths(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for number in range(4):
        path = tmp_path / "set" / "train" / CLASSES[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(number))
    source = build(tmp_path / "set")
    assert numbers(source) == [0, 2, 1, 3]
    assert source.classes == ("ant", "bee")
    first = source.fingerprint
    assert numbers(build(tmp_path / "set", train="train[1:3]")) == [2, 1]
    path.write_bytes(png(77))
    assert build(tmp_path / "set").fingerprint != first, "its Arrow file is the same"
    path.unlink()
    with pytest.raises(DataError, match=r"row 3: .*3\.png cannot be read: No such file"):
        source.load(3)
    with pytest.raises(DataError, match=r"`datasets` cannot open it: .*validation"):
        build(tmp_path / "set", train="validation")


@pytest.mark.parametrize("labels", [["b", "a", "b"], [1, 0, 1]])
def test_labels_without_names(tmp_path, labels):
    rows = dataset_of([png(i) for i in range(3)]).remove_columns("label").add_column("kind", labels)
    rows.save_to_disk(str(tmp_path / "x"))
    source = build(tmp_path / "x", label_column="kind")
    assert source.labels.tolist() == [1, 0, 1]
    assert source.classes == (("a", "b") if labels[0] == "b" else ("0", "1"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"label_column": "no"}, "has no column 'no'.*`label_column`"),
        ({"label_column": "share"}, "column 'share' holds double; expected classes"),
        ({"image_column": "label"}, "column 'label' is a feature ClassLabel; expected Image, Array2D"),
        ({}, r"row 1: has no label \(1 of 2 samples have none\); name another column with `label_column`"),
    ],
)
def test_wrong_columns_are_errors_that_say_which_and_what(tmp_path, fields, message):
    dataset_of([png(0), png(1)], [0, -1], share=[0.5, 1.5]).save_to_disk(str(tmp_path / "x"))
    with pytest.raises(DataError, match=message):
        build(tmp_path / "x", **fields)


def test_a_damaged_folder_is_refused(tmp_path):
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(DataError, match="train: `datasets` cannot open it"):
        build(tmp_path)


def test_no_rows_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "x.jsonl").write_text('{"image": "a.png", "label": "a"}\n')
    with pytest.raises(DataError, match=r"corresponds to no data"):
        build(tmp_path, train="train[:0]")


def arrays(folder, values, feature):
    features = datasets.Features({"image": feature})
    datasets.Dataset.from_dict({"image": list(values)}, features=features).save_to_disk(str(folder))
    return folder


@pytest.mark.parametrize("shape", [(4, 5, 3), (3, 4, 5)])
def test_arrays_are_images_whichever_axis_is_that_of_channels(tmp_path, shape):
    values = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    folder = arrays(tmp_path / "x", values, datasets.Array3D(shape, "uint8"))
    source = HuggingFace(path=str(folder), label_column=None).build("train")
    image = source.load(2)
    expected = values[2].transpose(2, 0, 1) if shape[2] == 3 else values[2]
    assert image.dtype == torch.uint8
    assert np.array_equal(image.numpy(), expected)
    assert source.encoded(2) is None
    assert source.digests().any(1).all()


def test_arrays_of_two_axes_are_gray_and_have_a_range(tmp_path):
    values = np.array([np.full((4, 4), i * 10.0) + np.eye(4) for i in range(3)], dtype=np.float32)
    folder = arrays(tmp_path / "x", values, datasets.Array2D((4, 4), "float32"))
    source = build(folder, label_column=None, range=(0, 21))
    assert source.load(2).shape == (1, 4, 4)
    assert source.load(2).max() == 1
    other = build(folder, label_column=None, range=(0, 42))
    assert other.load(2).max() == 0.5
    assert other.fingerprint != source.fingerprint
    with pytest.raises(DataError, match=r"data\.range: the first images have values of 0 to 21"):
        build(folder, label_column=None)
    with pytest.raises(DataError, match=r"the shape \[4, 4\], and `channels` is 3"):
        HuggingFace(path=str(folder), label_column=None).build("train")


def test_arrays_of_any_height_and_empty_cells(tmp_path):
    values = [np.zeros((2, 4, 1), np.uint8), np.ones((5, 4, 1), np.uint8), None]
    source = build(arrays(tmp_path / "x", values, datasets.Array3D((None, 4, 1), "uint8")), label_column=None)
    assert [tuple(source.load(i).shape) for i in (0, 1)] == [(1, 2, 4), (1, 5, 4)]
    with pytest.raises(DataError, match="row 2: holds no image"):
        source.load(2)


def test_saved_folders_need_no_cache(tmp_path):
    source = build(save(tmp_path / "x", 6, (1, 3, 2)))
    assert numbers(source) == list(range(6))
    assert len(source.dataset.cache_files) == 3
