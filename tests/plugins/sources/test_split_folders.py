"""Layouts whose folders are splits: test images are never trained on, and a message says what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from sslkit import Folder, Parquet
from sslkit.errors import DataError, SpecError
from sslkit.plugin import split_of, splits_in
from sslkit_sources.split_folders import advice, divided_folders
from tests import tiny
from tests.plugins.sources.test_folder import write
from tests.plugins.sources.test_parquet import write as write_parquet


def images(root: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        write(root / name, seed)
    return root


def names(source: object) -> list[str]:
    return [source.name(i) for i in range(len(source))]


@pytest.mark.parametrize(
    ("split", "spellings"),
    [
        (
            "train",
            ["train", "Train", "TRAINING", "trn", "train2017", "trainset", "train_images", "TrainData"],
        ),
        ("test", ["test", "Testing", "tst", "test-set", "images_test", "holdout"]),
        ("validation", ["val", "Valid", "validation", "dev", "EVAL", "val2017"]),
        ("unlabeled", ["unlabeled", "Unlabelled", "unlabeled_images"]),
        (None, ["cat", "train station", "trainer", "testament", "images", "", "2017", "train_test", "dévs"]),
    ],
)
def test_names_of_splits_in_any_case_and_with_their_synonyms(split: str | None, spellings: list[str]) -> None:
    assert {name: split_of(name) for name in spellings} == dict.fromkeys(spellings, split)


def test_splits_in_the_names_of_a_path() -> None:
    assert splits_in(("default", "Train", "0000.parquet")) == {"train": (1, "Train")}
    assert splits_in(("my-test-00000-of-00001.parquet",)) == {"test": (0, "test")}
    assert splits_in(("partial-train", "0.parquet"))["train"] == (0, "train")
    assert splits_in(("constraint.parquet",)) == {}


def test_only_folders_of_two_splits_divide_a_folder() -> None:
    assert divided_folders(["bus", "car", "train"]) == {}, "a train is a vehicle"
    assert divided_folders(["x/Train/a", "x/Test/a"]) == {"x": {"train": ["Train"], "test": ["Test"]}}
    assert list(divided_folders(["a/train", "a/val", "b/train", "b/val", "c"])) == ["a", "b"]


def test_advice_names_the_fields() -> None:
    assert (
        advice({"train": ["A"], "test": ["B"], "validation": ["C"]}, "root")
        == "write `root: A` and `test: B`"
    )
    assert advice({"train": ["A"], "validation": ["C"]}, "files") == "write `files: A` and `test: C`"
    assert advice({"train": ["A"], "unlabeled": ["U"], "test": ["B"]}, "root") == (
        "write `root: A` and `test: B`, or `root: [A, U]` to train on unlabeled images too"
    )
    assert advice({"validation": ["A"]}, "root") == "write `root: A`"
    assert advice({"validation": ["A"], "test": ["B"]}, "root").startswith("move those of other splits")
    assert advice({"train": list("ABCDEF")}, "root") == "write `root: [A, B, C, D, ...]`"


@pytest.mark.parametrize(
    ("train", "test", "others"),
    [
        ("Train", "Test", ()),
        ("Training", "Testing", ()),
        ("train", "test", ("unlabeled",)),
        ("TRAIN", "Val", ("annotations",)),
        ("trn", "tst", ()),
        ("train2017", "val2017", ()),
    ],
)
def test_folders_of_splits_are_no_classes(
    tmp_path: Path, train: str, test: str, others: tuple[str, ...]
) -> None:
    images(tmp_path, *(f"{folder}/{name}/1.png" for folder in (train, test, *others) for name in ("a", "b")))
    spec = Folder(root=tmp_path)
    (problem,) = spec.problems(None)
    for message in (problem.message, build_error(spec)):
        assert f"write `root: {tmp_path / train}` and `test: {tmp_path / test}`" in message
    advised = Folder(root=tmp_path / train, test=tmp_path / test)
    assert list(advised.problems(None)) == []
    assert advised.build("train").classes == advised.build("test").classes == ("a", "b")


def build_error(spec: object, split: str = "train") -> str:
    with pytest.raises(DataError) as error:
        spec.build(split)
    return str(error.value)


def test_splits_below_one_folder_and_below_classes(tmp_path: Path) -> None:
    images(tmp_path / "one", "data/train/a/1.png", "data/test/a/2.png")
    message = build_error(Folder(root=tmp_path / "one"))
    assert f"write `root: {tmp_path}/one/data/train` and `test: {tmp_path}/one/data/test`" in message
    parts = [f"{part}/{split}/good/1.png" for part in ("bottle", "cable") for split in ("train", "test")]
    images(tmp_path / "parts", *parts)
    message = build_error(Folder(root=tmp_path / "parts"))
    assert "as are those of 1 more folders" in message
    assert f"`root: [{tmp_path}/parts/bottle/train, {tmp_path}/parts/cable/train]`" in message


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    source = Folder(root=images(tmp_path, "bus/1.png", "car/2.png", "train/3.png")).build("train")
    assert source.classes == ("bus", "car", "train")


def test_a_test_folder_inside_the_root_is_left_out_of_training(tmp_path: Path) -> None:
    images(tmp_path, "a/1.png", "b/2.png", "test/a/3.png", "test/b/4.png", "testing ground/5.png")
    spec = Folder(root=tmp_path, test=tmp_path / "test")
    assert list(spec.problems(None)) == []
    train, test = spec.build("train"), spec.build("test")
    assert names(train) == ["a/1.png", "b/2.png", "testing ground/5.png"]
    assert names(test) == ["a/3.png", "b/4.png"]
    assert train.classes == test.classes == ("a", "b", "testing ground")
    deeper = Folder(root=tmp_path / "test", test=tmp_path / "test" / "b")
    assert names(deeper.build("train")) == ["a/3.png"]


def test_a_test_folder_beside_train_inside_the_root(tmp_path: Path) -> None:
    images(tmp_path, "train/a/1.png", "test/a/3.png")
    message = build_error(Folder(root=tmp_path, test=tmp_path / "test"))
    assert f"write `root: {tmp_path}/train`" in message


@pytest.mark.parametrize("test", [".", "..", "link"])
def test_training_images_are_no_test_images(tmp_path: Path, test: str) -> None:
    root = images(tmp_path / "data" / "pictures", "a/1.png", "b/2.png")
    (root / "link").symlink_to(root) if test == "link" else None
    data = {"kind": "folder", "root": root, "test": root / test, "channels": 1}
    with pytest.raises(
        SpecError, match=r"data\.test: .* the folder of the training images, .* would be tested"
    ):
        tiny.spec(data=data)
    assert len(Folder(root=root, test=root).build("test")) == 2, (
        "for evaluators that read no training images of it"
    )


def test_several_roots_are_one_split(tmp_path: Path) -> None:
    images(tmp_path / "north", "a/1.png", "b/2.png")
    images(tmp_path / "south", "b/1.png", "c/2.png")
    spec = Folder(root=[tmp_path / "north", tmp_path / "south"], test=[tmp_path / "north" / "b"])
    source = Folder(root=[tmp_path / "north", tmp_path / "south"]).build("train")
    assert names(source) == ["north/a/1.png", "north/b/2.png", "south/b/1.png", "south/c/2.png"]
    assert (source.classes, source.labels.tolist()) == (("a", "b", "c"), [0, 1, 1, 2])
    assert source.load(3).shape == (3, 5, 7)
    assert names(spec.build("train")) == ["north/a/1.png", "south/b/1.png", "south/c/2.png"]
    before, moved = source.fingerprint, tmp_path / "moved" / "deep"
    moved.mkdir(parents=True)
    (tmp_path / "south").rename(moved / "other")
    again = Folder(root=[tmp_path / "north", moved / "other"]).build("train")
    assert again.fingerprint == before, "where a root lies is not what it holds"
    swapped = Folder(root=[moved / "other", tmp_path / "north"]).build("train")
    assert swapped.fingerprint != before


def test_a_root_without_classes_takes_the_labels_from_all(tmp_path: Path) -> None:
    images(tmp_path, "train/a/1.png", "unlabeled/2.png")
    source = Folder(root=[tmp_path / "train", tmp_path / "unlabeled"]).build("train")
    assert (len(source), source.labels, source.classes) == (2, None, ())


def test_roots_are_named_once_and_exist(tmp_path: Path) -> None:
    images(tmp_path, "x/a/1.png", "x/b/2.png")
    spec = Folder(root=[tmp_path / "x", tmp_path / "x" / "a"])
    (problem,) = spec.problems(None)
    assert problem.path == "root"
    assert "its images would count twice" in problem.message
    assert build_error(spec) == problem.message
    (missing,) = Folder(root=[tmp_path / "x", tmp_path / "y"]).problems(None)
    assert (missing.path, "no such folder" in missing.message) == ("root.1", True)


def hub(root: Path) -> Path:
    """The layout that the hub makes of every data set."""
    for place, name in enumerate(("default/train/0000", "default/train/0001", "default/test/0000")):
        write_parquet(root / f"{name}.parquet", [place], [0])
    return root


@pytest.mark.parametrize("pattern", [".", "default", "**/*.parquet", "default/*/*.parquet"])
def test_the_hubs_layout_is_not_merged(tmp_path: Path, pattern: str) -> None:
    spec = Parquet(files=hub(tmp_path) / pattern)
    (problem,) = spec.problems(None)
    expected = f"write `files: {tmp_path}/default/train` and `test: {tmp_path}/default/test`"
    assert expected in problem.message
    assert build_error(spec) == problem.message
    advised = Parquet(files=tmp_path / "default/train", test=tmp_path / "default/test")
    assert (len(advised.build("train")), len(advised.build("test"))) == (2, 1)


@pytest.mark.parametrize(
    ("train", "test"), [("Train", "TEST"), ("trn", "tst"), ("training", "dev"), ("x-train", "x-eval")]
)
def test_parquet_files_of_splits_by_their_names(tmp_path: Path, train: str, test: str) -> None:
    for name in (train, test):
        write_parquet(tmp_path / f"{name}-0.parquet", [1], [0])
    message = build_error(Parquet(files=tmp_path))
    words = [name.removeprefix("x-") for name in (train, test)]
    files, held = (f"{tmp_path}/*{word}*.parquet" for word in words)
    assert f"write `files: {files}` and `test: {held}`" in message
    assert len(Parquet(files=files, test=held).build("test")) == 1


def test_several_parquet_places_are_one_split(tmp_path: Path) -> None:
    hub(tmp_path)
    spec = Parquet(files=[tmp_path / "default/train/0000.parquet", tmp_path / "default/test"])
    assert len(spec.build("train")) == 2, "who names both places means both"
    data = {"kind": "parquet", "files": tmp_path / "default/train", "channels": 1}
    with pytest.raises(
        SpecError, match=r"data\.test: .*0001\.parquet, which is a file of the training images too"
    ):
        tiny.spec(data={**data, "test": tmp_path / "default/train/0001.parquet"})
