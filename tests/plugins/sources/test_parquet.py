import io
import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from sslkit import Parquet
from sslkit.errors import DataError


def picture(value: int, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (3, 2), value).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def write(path: Path, values, labels=None, *, struct: bool = True, names=(), **columns) -> Path:
    images = [v if v is None or isinstance(v, bytes) else picture(v) for v in values]
    column = pa.array([{"bytes": data, "path": "x.png"} for data in images] if struct else images)
    table = pa.table({"image": column, **({} if labels is None else {"label": labels}), **columns})
    if names:
        info = {"info": {"features": {"label": {"names": list(names), "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=2)
    return path


@pytest.fixture
def files(tmp_path) -> Path:
    """Five images in two files, several row groups."""
    write(tmp_path / "data" / "train-0.parquet", [0, 1, 2], [1, 0, 1])
    write(tmp_path / "data" / "more" / "train-1.parquet", [3, 4], [2, 0])
    return tmp_path / "data"


def values(source) -> list[int]:
    return [int(source.load(i).unique()) for i in range(len(source))]


def test_a_folder_is_read_at_any_depth_in_sorted_order(files):
    source = Parquet(files=files).build("train")
    assert values(source) == [3, 4, 0, 1, 2]
    assert source.labels.tolist() == [2, 0, 1, 0, 1]
    assert source.classes == ("0", "1", "2")
    assert source.load(0).shape == (3, 2, 3)
    assert source.name(1) == f"{files}/more/train-1.parquet row 1"
    assert source.name(4) == f"{files}/train-0.parquet row 2"


def test_a_file_and_a_pattern(files):
    assert values(Parquet(files=files / "train-0.parquet").build("train")) == [0, 1, 2]
    assert values(Parquet(files=files / "**" / "*-1.parquet").build("train")) == [3, 4]


def test_plain_binary_columns_under_other_names(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"jpg": [picture(7), picture(8)], "cls": ["b", "a"]}), path)
    source = Parquet(files=path, image_column="jpg", label_column="cls", channels=1).build("train")
    assert values(source) == [7, 8]
    assert source.classes == ("a", "b")
    assert source.labels.tolist() == [1, 0]
    assert source.load(0).shape == (1, 2, 3)


def test_no_labels_on_request(files):
    source = Parquet(files=files, label_column=None).build("train")
    assert source.labels is None
    assert source.classes == ()
    assert len(source) == 5


def test_class_names_come_from_the_hubs_metadata(tmp_path):
    path = write(tmp_path / "x.parquet", [1, 2], [1, 0], names=("tench", "church", "parachute"))
    assert Parquet(files=path).build("train").classes == ("tench", "church", "parachute")


def test_dictionary_labels_are_strings(tmp_path):
    labels = pa.array(["b", "a", "b"]).dictionary_encode()
    source = Parquet(files=write(tmp_path / "x.parquet", [1, 2, 3], labels)).build("train")
    assert source.labels.tolist() == [1, 0, 1]


def test_the_test_split_counts_through_the_training_classes(tmp_path):
    train = write(tmp_path / "train.parquet", [1, 2, 3], ["ant", "bee", "cow"])
    test = write(tmp_path / "test.parquet", [4], ["cow"])
    source = Parquet(files=train, test=test).build("test")
    assert source.labels.tolist() == [2]
    assert source.classes == ("ant", "bee", "cow")
    assert Parquet(files=train).build("test") is None
    strange = write(tmp_path / "strange.parquet", [4], ["dog"])
    with pytest.raises(DataError, match="label 'dog' in column 'label' is none of the 3 classes"):
        Parquet(files=train, test=strange).build("test")


def test_fingerprint_follows_the_files_and_settings_but_not_the_place(files, tmp_path):
    first = Parquet(files=files).build("train").fingerprint
    assert Parquet(files=files.rename(tmp_path / "moved")).build("train").fingerprint == first
    assert Parquet(files=tmp_path / "moved", label_column=None).build("train").fingerprint != first
    assert Parquet(files=tmp_path / "moved", channels=1).build("train").fingerprint != first
    write(tmp_path / "moved" / "train-2.parquet", [9], [0])
    assert Parquet(files=tmp_path / "moved").build("train").fingerprint != first


class _Images(Dataset):
    def __init__(self, source):
        self.source = source

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        return self.source.load(index)


def test_forked_workers_load_the_same_images(files):
    source = Parquet(files=files).build("train")
    loader = DataLoader(_Images(source), batch_size=5, num_workers=1, multiprocessing_context="fork")
    (batch,) = loader
    assert batch[:, 0, 0, 0].tolist() == [3, 4, 0, 1, 2]


def test_a_pickled_source_is_small_and_equal(tmp_path):
    """What a spawned worker receives: the files' names, not their content."""
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    source = Parquet(files=write(tmp_path / "x.parquet", [buffer.getvalue(), 5], [0, 1])).build("train")
    sent = pickle.dumps(source)
    assert len(sent) < 5000
    received = pickle.loads(sent)
    assert torch.equal(received.load(0), torch.from_numpy(noise).permute(2, 0, 1))
    assert received.labels.tolist() == [0, 1]
    assert received.fingerprint == source.fingerprint


def test_damaged_and_empty_rows_are_named(tmp_path):
    path = write(tmp_path / "x.parquet", [1, b"junk", None], [0, 0, 0])
    source = Parquet(files=path).build("train")
    with pytest.raises(DataError, match=r"x\.parquet row 1: cannot be decoded: it is not an image"):
        source.load(1)
    with pytest.raises(DataError, match=r"x\.parquet row 2: column 'image' holds no bytes"):
        source.load(2)


def test_convert_is_passed_on(tmp_path):
    path = write(tmp_path / "x.parquet", [picture(1, "L")], [0])
    assert Parquet(files=path).build("train").load(0).shape == (3, 2, 3)
    with pytest.raises(DataError, match=r"x\.parquet row 0: is a L image where RGB was expected"):
        Parquet(files=path, convert=False).build("train").load(0)


@pytest.mark.parametrize("name", ["gone.parquet", "gone/*.parquet", "empty"])
def test_missing_files_are_found_by_validation(tmp_path, name):
    (tmp_path / "empty").mkdir()
    spec = Parquet(files=tmp_path / name)
    (problem,) = spec.problems(None)
    assert problem.path == "files"
    assert problem.message.startswith(f"{tmp_path / name}: no such parquet file; expected a file, a folder")
    with pytest.raises(DataError, match="no such parquet file"):
        spec.build("train")


def test_a_folder_of_several_splits_is_refused(tmp_path):
    for name in ("train-0.parquet", "validation-0.parquet"):
        write(tmp_path / name, [1], [0])
    (problem,) = Parquet(files=tmp_path).problems(None)
    assert "files of several splits (train, validation); write `files: " in problem.message
    assert list(Parquet(files=tmp_path / "train*", test=tmp_path / "val*").problems(None)) == []


@pytest.mark.parametrize(
    ("make", "fields", "message"),
    [
        (
            {"values": [1], "labels": [0]},
            {"image_column": "img"},
            "no column 'img'; it has image, label.*`image_column`",
        ),
        ({"values": [1]}, {}, "no column 'label'; it has image.*`label_column`"),
        ({"values": [1], "labels": [0]}, {"image_column": "label"}, "holds int64; expected encoded images"),
        ({"values": [1], "labels": [0.5]}, {}, "holds double; expected an integer or a class name"),
        ({"values": [1, 2], "labels": [0, None]}, {}, "holds 1 empty cells; .*`label_column: null`"),
        ({"values": [1], "labels": [-3]}, {}, "label -3 in column 'label' is none of"),
        ({"values": [b""][:0], "labels": [], "struct": False}, {}, "holds"),
    ],
)
def test_wrong_columns_are_errors_that_say_which_and_what(tmp_path, make, fields, message):
    path = write(tmp_path / "x.parquet", **make)
    with pytest.raises(DataError, match=message) as error:
        Parquet(files=path, **fields).build("train")
    assert str(tmp_path) in str(error.value)


def test_no_rows(tmp_path):
    schema = pa.schema({"image": pa.binary(), "label": pa.int64()})
    pq.write_table(schema.empty_table(), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"x\.parquet: holds no rows"):
        Parquet(files=tmp_path / "x.parquet").build("train")
    full = write(tmp_path / "full.parquet", [1], [0])
    with pytest.raises(DataError, match=r"x\.parquet: holds no rows"):
        Parquet(files=tmp_path / "x.parquet", test=full).build("test")


def test_a_file_that_is_no_parquet(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"text")
    with pytest.raises(DataError, match=r"x\.parquet: cannot be read as parquet"):
        Parquet(files=tmp_path / "x.parquet").build("train")


def test_real_photographs(shared_data):
    source = Parquet(files=shared_data / "imagenette128-val").build("train")
    assert len(source) == 3925
    assert source.classes[0] == "tench"
    assert source.classes[-1] == "parachute"
    sample = torch.stack([source.load(i) for i in range(0, 3925, 100)])
    assert sample.shape == (40, 3, 128, 128)


def test_rows_of_paths_without_bytes_are_refused_with_the_reason(tmp_path):
    path = write(tmp_path / "x.parquet", [None, None], [0, 1])
    with pytest.raises(
        DataError, match=r"x\.parquet: column 'image' holds paths, such as 'x\.png', and no bytes"
    ):
        Parquet(files=path).build("train")
    assert len(Parquet(files=write(tmp_path / "y.parquet", [None, 3], [0, 1])).build("train")) == 2
