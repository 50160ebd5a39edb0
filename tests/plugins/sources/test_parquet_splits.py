"""Test splits drawn from the rows of parquet files: by what images hold, or by a column of groups."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch

from sslkit import Parquet
from sslkit.errors import DataError, SpecError
from sslkit.specs.load import parse_as
from sslkit.train.launch import train
from sslkit_evaluators.specs.probes import KNN
from tests import tiny
from tests.plugins.sources.test_parquet import values, write

COUNT = 40
SPLIT = {"test": 0.3, "seed": 1}
SIDES = ("train", "test")
pytestmark = pytest.mark.filterwarnings("ignore:data.split. .*another `seed` may do better")


def rows(path: Path, images: list[int]) -> Path:
    """Rows whose label, patient and site follow from the image."""
    columns = {
        "patient": [f"p{i % 8}" for i in images],
        "site": [None if i % 5 == 0 else str(i % 3) for i in images],
    }
    return write(path, images, [f"c{i % 2}" for i in images], **columns)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    rows(tmp_path / "data" / "0.parquet", list(range(25)))
    rows(tmp_path / "data" / "1.parquet", list(range(25, COUNT)))
    return tmp_path / "data"


def sides(files: Path, **fields: object) -> list[list[int]]:
    spec = parse_as(Parquet, {"files": files, "split": SPLIT, **fields})
    return [values(spec.build(split)) for split in SIDES]


def test_every_row_is_in_one_split_with_its_label_attributes_and_name(files: Path) -> None:
    spec = parse_as(Parquet, {"files": files, "split": SPLIT, "attributes": ["site"]})
    whole = Parquet(files=files, attributes=("site",)).build("train")
    parts = [spec.build(split) for split in SIDES]
    assert sorted(values(parts[0]) + values(parts[1])) == list(range(COUNT))
    for source in parts:
        assert (source.classes, source.attribute_values) == (whole.classes, whole.attribute_values)
        for i, image in enumerate(values(source)):
            assert torch.equal(source.load(i), whole.load(image))
            assert source.labels[i] == whole.labels[image]
            assert source.attributes["site"][i] == whole.attributes["site"][image]
            assert source.name(i) == whole.name(image), "the row in its file"
            assert (source.digests()[i] == whole.digests()[image]).all()
    assert len({source.fingerprint for source in (whole, *parts)}) == 3


def test_neither_order_nor_files_move_an_image(files: Path, tmp_path: Path) -> None:
    train_side, test_side = map(set, sides(files))
    rows(tmp_path / "one.parquet", list(range(COUNT))[::-1])
    assert [set(side) for side in sides(tmp_path / "one.parquet")] == [train_side, test_side]
    rows(files / "2.parquet", list(range(COUNT, 2 * COUNT)))
    assert set(sides(files)[1]) >= test_side, "more rows move none"
    assert set(sides(files, split={**SPLIT, "test": 0.6})[1]) >= test_side, "a larger share keeps them"


def test_equal_images_are_never_in_both_splits(tmp_path: Path) -> None:
    rows(tmp_path / "x.parquet", [i // 4 for i in range(COUNT)])
    train_side, test_side = sides(tmp_path / "x.parquet")
    assert not set(train_side) & set(test_side)
    assert all(train_side.count(image) == 4 for image in train_side)


def test_groups_stay_together(files: Path) -> None:
    fields = {"split": {**SPLIT, "by": "group", "test": 0.4}, "group_column": "patient"}
    groups = [{image % 8 for image in side} for side in sides(files, **fields)]
    assert not groups[0] & groups[1]
    assert groups[0] | groups[1] == set(range(8))
    with pytest.raises(
        DataError, match=r"0\.parquet row 0: has no group in the column 'site'; `split` goes by"
    ):
        sides(files, **{**fields, "group_column": "site"})
    with pytest.raises(DataError, match=r"no column 'slide'; it has .* Name one of them with `group_column`"):
        sides(files, **{**fields, "group_column": "slide"})


def test_a_pickled_part_is_small_and_equal(files: Path) -> None:
    """What a spawned worker receives; it reads the files again."""
    source = parse_as(Parquet, {"files": files, "split": SPLIT}).build("test")
    received = pickle.loads(pickle.dumps(source))
    assert len(pickle.dumps(source)) < 5000
    assert values(received) == values(source)
    assert received.fingerprint == source.fingerprint


def test_what_cannot_be_divided_is_refused(tmp_path: Path) -> None:
    rows(tmp_path / "x.parquet", [7, 7])
    with pytest.raises(DataError, match="has 1 image to divide, so one split would be empty"):
        sides(tmp_path / "x.parquet")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"test": "held.parquet"}, "`test` names one; leave one out"),
        ({"split": {"test": 0.1, "by": "folder"}}, "rows lie in no folder; write `split: {by: group}`"),
        ({"split": {"test": 0.1, "by": "group"}}, "name the column of groups with `group_column`"),
    ],
)
def test_fields_that_do_not_fit(fields: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse_as(Parquet, {"files": "x.parquet", "split": SPLIT, **fields})


def test_a_column_of_groups_without_a_split_has_no_effect(files: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"data\.group_column: has no effect without `split: \{by: group\}`"):
        tiny.spec(tmp_path / "run", data={"kind": "parquet", "files": files, "group_column": "patient"})


def test_percentiles_are_those_of_the_training_rows(files: Path) -> None:
    spec = parse_as(Parquet, {"files": files, "split": SPLIT, "range": {"percentile": [5, 95]}})
    ranges = [spec.build(split).decoder.pixel_range for split in SIDES]
    assert ranges[0] == ranges[1] is not None


def test_a_run_trains_on_one_side_and_scores_the_other(files: Path, tmp_path: Path) -> None:
    data = {"kind": "parquet", "files": files, "split": SPLIT, "channels": 1}
    train(tiny.spec(tmp_path / "run", data=data, batch_size=8, evaluate=(KNN(k=3),)), [].append)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    (score,) = {line["eval/knn/accuracy"] for line in lines if "eval/knn/accuracy" in line}
    tests = len(sides(files)[1])
    assert round(score * tests) == pytest.approx(score * tests)
