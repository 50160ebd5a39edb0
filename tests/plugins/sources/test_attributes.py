"""Further labels of images: CSV files beside folders, columns of parquet files."""

from __future__ import annotations

import pytest
import torch

from sslkit import Folder, Parquet
from sslkit.core.source import Source
from sslkit.errors import DataError, SpecError
from sslkit.plugin import names_of
from sslkit_sources.attributes import encode, read_csv
from tests import tiny
from tests.plugins.sources.test_folder import write as write_image
from tests.plugins.sources.test_parquet import write as write_parquet

TABLE = "path,color,legs\na/0.png,red,4\nb/1.png,,10\na/2.png,blue,2\n"


@pytest.fixture
def root(tmp_path):
    for name in ("a/0.png", "a/2.png", "b/1.png", "b/3.png"):
        write_image(tmp_path / "train" / name)
    for name in ("a/9.png", "b/8.png"):
        write_image(tmp_path / "test" / name)
    (tmp_path / "train.csv").write_text(TABLE)
    (tmp_path / "test.csv").write_text("path,color,legs\nb/8.png,red,2\n")
    return tmp_path


def folder(root, **fields):
    return Folder(root=root / "train", test=root / "test", attributes=root / "train.csv", **fields)


def test_sources_have_none_by_default(root):
    assert Source.attributes == {}
    assert Folder(root=root / "train").build("train").attributes == {}


def test_sources_name_the_values_of_their_attributes(root, tmp_path):
    source = folder(root, test_attributes=root / "test.csv").build("test")
    assert source.attribute_values == {"color": ("blue", "red"), "legs": ("2", "4", "10")}
    listing = "path,color\na/0.png,red\na/2.png,blue\nb/1.png,red\nb/3.png,blue\n"
    (tmp_path / "list.csv").write_text(listing)
    listed = Folder(root=root / "train", listing=tmp_path / "list.csv").build("train")
    assert listed.attribute_values == {"color": ("blue", "red")}


def test_a_csv_file_gives_codes_in_the_order_of_the_images(root):
    source = folder(root).build("train")
    assert [source.name(i) for i in range(4)] == ["a/0.png", "a/2.png", "b/1.png", "b/3.png"]
    assert source.attributes["color"].tolist() == [1, 0, -1, -1], "blue, red; unknown where empty or left out"
    assert source.attributes["legs"].tolist() == [1, 0, 2, -1], "numbers are in numerical order"
    assert all(codes.dtype == torch.int64 for codes in source.attributes.values())
    assert source.labels.tolist() == [0, 0, 1, 1]


def test_test_images_count_through_the_training_values(root):
    source = folder(root, test_attributes=root / "test.csv").build("test")
    assert source.attributes["color"].tolist() == [-1, 1]
    assert source.attributes["legs"].tolist() == [-1, 0]
    (root / "test.csv").write_text("path,color\nb/8.png,green\n")
    with pytest.raises(
        DataError, match=r"test\.csv: attribute 'color' is 'green', which no training image has"
    ):
        folder(root, test_attributes=root / "test.csv").build("test")


def test_one_file_may_name_both_splits(root):
    (root / "train.csv").write_text(TABLE + "a/9.png,blue,4\n")
    spec = folder(root)
    assert spec.build("test").attributes["color"].tolist() == [0, -1]
    assert spec.build("train").attributes["color"].tolist() == [1, 0, -1, -1]


def test_attributes_are_part_of_the_fingerprint(root):
    plain = Folder(root=root / "train").build("train").fingerprint
    told = folder(root).build("train").fingerprint
    (root / "train.csv").write_text(TABLE.replace("red", "blue"))
    assert len({plain, told, folder(root).build("train").fingerprint}) == 3
    assert Folder(root=root / "train").build("train").fingerprint == plain


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("file,color\na/0.png,red\n", "its first line is file, color; expected 'path'"),
        ("path\na/0.png\n", "its first line is path; expected"),
        ("", "its first line is empty"),
        ("path,color\nelse.png,red\n", r"names none of the 4 images; expected paths .* such as 'a/0.png'"),
    ],
)
def test_files_that_say_nothing_are_errors(root, text, match):
    (root / "train.csv").write_text(text)
    with pytest.raises(DataError, match=match):
        folder(root).build("train")


def test_a_missing_file_is_found_before_the_run(root):
    data = {
        "kind": "folder",
        "root": str(root / "train"),
        "channels": 1,
        "attributes": str(root / "none.csv"),
    }
    with pytest.raises(SpecError, match=r"data\.attributes: .*none\.csv: no such file; expected a CSV file"):
        tiny.spec(data=data)


def test_windows_paths_and_byte_order_marks_are_read(root):
    (root / "odd.csv").write_bytes(b"\xef\xbb\xbf" + b"path,color\r\na\\0.png,red\r\n")
    assert read_csv(root / "odd.csv", ["a/0.png", "b/1.png"]) == {"color": ["red", None]}


def test_names_are_in_numerical_or_alphabetical_order():
    assert names_of(["10", "-2", None, "9", "10"]) == ("-2", "9", "10")
    assert names_of(["10", "x", "9"]) == ("10", "9", "x")
    assert names_of([None]) == ()
    assert encode({"a": [None, "y"]}, {"a": ("x", "y")}, "here")["a"].tolist() == [-1, 1]


def test_columns_of_parquet_files(tmp_path):
    columns = {"size": ["big", None, "small"], "legs": [4, 2, None], "wild": [True, False, True]}
    write_parquet(tmp_path / "train.parquet", [0, 1, 2], [0, 1, 0], **columns)
    write_parquet(tmp_path / "test.parquet", [3], [1], size=["small"], legs=[4], wild=[False])
    spec = Parquet(
        files=tmp_path / "train.parquet", test=tmp_path / "test.parquet", attributes=tuple(columns)
    )
    train, test = spec.build("train"), spec.build("test")
    assert {name: codes.tolist() for name, codes in train.attributes.items()} == {
        "size": [0, -1, 1], "legs": [1, 0, -1], "wild": [1, 0, 1],
    }  # fmt: skip
    assert {name: codes.tolist() for name, codes in test.attributes.items()} == {
        "size": [1], "legs": [1], "wild": [0],
    }  # fmt: skip
    plain = Parquet(files=tmp_path / "train.parquet").build("train")
    assert plain.attributes == {}
    assert plain.fingerprint != train.fingerprint


def test_parquet_columns_that_cannot_be_read(tmp_path):
    write_parquet(tmp_path / "train.parquet", [0, 1], [0, 1], weight=[0.5, 1.5])
    with pytest.raises(
        DataError, match="'weight' holds double; expected whole numbers, truth values or text"
    ):
        Parquet(files=tmp_path / "train.parquet", attributes=("weight",)).build("train")
    with pytest.raises(DataError, match=r"has no column 'size'.* Name one of them with `attributes`"):
        Parquet(files=tmp_path / "train.parquet", attributes=("size",)).build("train")
