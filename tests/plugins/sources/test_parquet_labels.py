"""Labels of parquet files mean the same class in every file and split."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sslkit import Parquet
from sslkit.errors import DataError
from tests.plugins.sources.test_parquet import write

PETS = ("cat", "dog", "emu")


def classes_of(source: object) -> list[str]:
    return [source.classes[label] for label in source.labels.tolist()]


def test_files_that_list_the_names_in_other_orders(tmp_path: Path) -> None:
    write(tmp_path / "0.parquet", [1, 2, 3], [0, 1, 2], names=PETS)
    write(tmp_path / "1.parquet", [4, 5, 6], [0, 1, 2], names=PETS[::-1])
    source = Parquet(files=tmp_path).build("train")
    assert source.classes == PETS
    assert classes_of(source) == ["cat", "dog", "emu", "emu", "dog", "cat"]


@pytest.mark.parametrize("order", [PETS[::-1], ("emu", "cat", "dog", "ibis"), ("dog", "emu")])
def test_a_validation_split_that_lists_the_names_otherwise(tmp_path: Path, order: tuple[str, ...]) -> None:
    write(tmp_path / "train.parquet", [1, 2, 3], [0, 1, 2], names=PETS)
    write(tmp_path / "valid.parquet", [4, 5], [order.index("emu"), order.index("dog")], names=order)
    test = Parquet(files=tmp_path / "train.parquet", test=tmp_path / "valid.parquet").build("test")
    assert test.classes == PETS
    assert test.labels.tolist() == [2, 1]


def test_names_of_later_files_are_added(tmp_path: Path) -> None:
    write(tmp_path / "0.parquet", [1], [1], names=("dog", "cat"))
    write(tmp_path / "1.parquet", [2, 3], [0, 1], names=("emu", "dog"))
    source = Parquet(files=tmp_path).build("train")
    assert source.classes == ("dog", "cat", "emu")
    assert classes_of(source) == ["cat", "emu", "dog"]


def test_numbers_with_names_beside_text(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", [1, 2, 3], [2, 1, 0], names=PETS)
    write(tmp_path / "test.parquet", [4, 5], ["emu", "cat"])
    spec = Parquet(files=tmp_path / "train.parquet", test=tmp_path / "test.parquet")
    assert classes_of(spec.build("test")) == ["emu", "cat"]
    back = Parquet(files=tmp_path / "test.parquet", test=tmp_path / "train.parquet")
    with pytest.raises(DataError, match=r"label 'dog' in column 'label' is none of the 2 classes"):
        back.build("test")
    both = Parquet(files=[tmp_path / "train.parquet", tmp_path / "test.parquet"])
    assert classes_of(both.build("train")) == ["emu", "dog", "cat", "emu", "cat"]


def test_a_name_that_no_training_file_lists(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", [1], [0], names=PETS)
    write(tmp_path / "test.parquet", [4], [1], names=("cat", "yak"))
    with pytest.raises(DataError, match=r"label 'yak' in column 'label' is none of the 3 classes"):
        Parquet(files=tmp_path / "train.parquet", test=tmp_path / "test.parquet").build("test")


def test_numbers_without_names_beside_named_ones_are_told(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", [1, 2], [0, 1], names=PETS)
    write(tmp_path / "test.parquet", [4], [1])
    with pytest.warns(UserWarning, match=r"test\.parquet: has no names for the numbers .*: 0 is 'cat'"):
        test = Parquet(files=tmp_path / "train.parquet", test=tmp_path / "test.parquet").build("test")
    assert classes_of(test) == ["dog"]


def test_numbers_without_names_beside_text_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "0.parquet", [1, 2], ["cat", "dog"])
    write(tmp_path / "1.parquet", [4], [1])
    with pytest.raises(
        DataError, match=r"1\.parquet: column 'label' holds numbers without names, but .*0\.parquet"
    ):
        Parquet(files=tmp_path).build("train")
    with pytest.warns(UserWarning, match="0 is 'cat'"):
        Parquet(files=tmp_path / "0.parquet", test=tmp_path / "1.parquet").build("test")


def test_numbers_alone_agree(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", [1, 2, 3], [0, 3, 1])
    write(tmp_path / "test.parquet", [4], [3])
    test = Parquet(files=tmp_path / "train.parquet", test=tmp_path / "test.parquet").build("test")
    assert (test.classes, test.labels.tolist()) == (("0", "1", "2", "3"), [3])


def test_empty_files_between_others_change_nothing(tmp_path: Path) -> None:
    write(tmp_path / "0.parquet", [1], [1], names=PETS)
    write(tmp_path / "2.parquet", [3], [1], names=PETS[::-1])
    before = Parquet(files=tmp_path).build("train")
    table = pa.table({"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())})
    pq.write_table(table, tmp_path / "1.parquet")
    after = Parquet(files=tmp_path).build("train")
    assert (
        (after.classes, after.labels.tolist()) == (before.classes, before.labels.tolist()) == (PETS, [1, 1])
    )
