"""Listings of scientific files: labels, splits, groups and attributes of all images of a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sslkit.errors import DataError, SpecError
from sslkit.specs.load import parse_as
from sslkit.testing import check_spec
from sslkit_science.specs.arrays import HDF5, NumPy, Zarr
from sslkit_science.specs.medical import DICOM
from tests import tiny
from tests.plugins.science.test_drawn_files import SPECS

RNG = np.random.default_rng(0)
TABLE = (
    "path,label,split,site\n"
    "b/1.npy,dog,train,x\n"
    "a/0.npy,cat,Training,\n"
    "a/2.npy,cat,test,y\n"
    "b/3.npy,dog,TEST,x\n"
)
pytestmark = pytest.mark.filterwarnings("ignore:data.split. .*another `seed` may do better")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Files of two images each."""
    for name in ("a/0.npy", "a/2.npy", "b/1.npy", "b/3.npy"):
        (tmp_path / "files" / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "files" / name, RNG.integers(0, 256, (2, 8, 8), dtype=np.uint8))
    return tmp_path / "files"


def listed(root: Path, text: str, name: str = "list.csv", **fields: object) -> NumPy:
    (root.parent / name).write_text(text)
    return parse_as(NumPy, {"root": root, "axes": "NYX", "listing": root.parent / name, **fields})


def rows(spec: NumPy, split: str) -> dict[str, str | None]:
    """Image -> its class."""
    source = spec.build(split)
    labels = [None] * len(source) if source.labels is None else source.labels.tolist()
    names = [None if label is None else source.classes[label] for label in labels]
    return {source.name(i): name for i, name in enumerate(names)}


@pytest.mark.parametrize("cls", SPECS, ids=lambda cls: cls.kind_name())
def test_every_kind_has_the_fields_and_validates_them(cls: type, tmp_path: Path) -> None:
    spec = cls(root=tmp_path, listing=tmp_path / "gone.csv")
    messages = {p.path: p.message for p in spec.problems(None)}
    assert "gone.csv: no such file; expected a CSV file" in messages["listing"]
    assert {p.path for p in cls(root=tmp_path).unused(None)} >= {"test_listing", "columns"}
    assert "extensions" in {p.path for p in spec.unused(None)}


def test_columns_say_label_split_and_attributes_of_all_images_of_a_file(root: Path) -> None:
    spec = listed(root, TABLE)
    assert rows(spec, "train") == {
        "a/0.npy N=0": "cat",
        "a/0.npy N=1": "cat",
        "b/1.npy N=0": "dog",
        "b/1.npy N=1": "dog",
    }
    train, test = spec.build("train"), spec.build("test")
    assert test.classes == train.classes == ("cat", "dog")
    assert train.attributes["site"].tolist() == [-1, -1, 0, 0]
    assert test.attributes["site"].tolist() == [1, 1, 0, 0]
    assert test.attribute_values == {"site": ("x", "y")}
    whole = NumPy(root=root, axes="NYX").build("train")
    places = {whole.name(i): i for i in range(len(whole))}
    for i in range(len(test)):
        assert (test.load(i) == whole.load(places[test.name(i)])).all()
    assert tiny.spec(root.parent / "run", data=spec.model_dump())


def test_a_changed_table_is_other_data(root: Path) -> None:
    prints = {
        listed(root, text).build("train").fingerprint
        for text in (
            TABLE,
            TABLE.replace("dog", "cow").replace("cat", "dog"),
            TABLE.replace("train,x", "train,y"),
        )
    }
    assert len(prints) == 3
    header, *lines = TABLE.splitlines()
    assert listed(root, "\n".join([header, *lines[::-1]])).build("train").fingerprint in prints


def test_a_text_file_takes_class_folders(root: Path) -> None:
    names = "b/1.npy\na/2.npy\n"
    assert set(rows(listed(root, names, "some.txt"), "train").values()) == {"a", "b"}
    assert set(rows(listed(root, names, "some.txt", label_folders=False), "train").values()) == {None}
    assert listed(root, names, "some.txt").build("test") is None


def test_a_split_goes_by_group_of_the_listing(root: Path) -> None:
    for i in range(16):
        np.save(root / f"{i}.npy", RNG.integers(0, 256, (2, 8, 8), dtype=np.uint8))
    text = "path,patient\n" + "".join(f"{i}.npy,p{i % 8}\n" for i in range(16))
    fields = {"split": {"test": 0.4, "by": "group"}, "columns": {"group": "patient"}}
    sides = [rows(listed(root, text, **fields), split) for split in ("train", "test")]
    groups = [{int(name.split(".")[0]) % 8 for name in side} for side in sides]
    assert groups[0] | groups[1] == set(range(8))
    assert not groups[0] & groups[1]
    with pytest.raises(DataError, match="`split` goes by group, and it has no column 'group'"):
        listed(root, text, split={"test": 0.4, "by": "group"}, columns={"attributes": ["patient"]}).build(
            "train"
        )


def test_patients_of_dicom_stay_together_without_a_column(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    from tests.plugins.science.sample_files import dicom

    lines = ["path,finding"]
    for i in range(16):
        pixels = RNG.integers(0, 65536, (9, 8)).astype(np.uint16)
        file = dicom(pixels, PatientID=f"p{i % 8}", BitsStored=16, HighBit=15)
        file.save_as(tmp_path / f"{i}.dcm", enforce_file_format=True)
        lines.append(f"{i}.dcm,f{i % 2}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    columns = {"label": "finding"}
    spec = parse_as(
        DICOM,
        {
            "root": tmp_path,
            "listing": tmp_path / "list.csv",
            "columns": columns,
            "split": {"test": 0.4, "by": "group"},
        },
    )
    sides = [spec.build(split) for split in ("train", "test")]
    patients = [{int(s.name(i).split(".")[0]) % 8 for i in range(len(s))} for s in sides]
    assert not patients[0] & patients[1]
    assert len(sides[0]) + len(sides[1]) == 16
    assert sides[1].classes == ("f0", "f1")


def test_stores_that_are_folders_are_named_too(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    for i in range(3):
        zarr.save_array(str(tmp_path / f"{i}.zarr"), RNG.integers(0, 256, (2, 8, 8), dtype=np.uint8))
    (tmp_path / "list.csv").write_text("path,label\n0.zarr,x\n2.zarr,y\n")
    source = Zarr(root=tmp_path, axes="NYX", listing=tmp_path / "list.csv").build("train")
    assert (len(source), source.labels.tolist(), source.classes) == (4, [0, 0, 1, 1], ("x", "y"))


def test_a_listing_of_its_own_for_the_test_split(root: Path, tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("path,label\nb/3.npy,dog\n")
    text = "path,label\na/0.npy,cat\nb/1.npy,dog\n"
    spec = listed(root, text, test_listing=tmp_path / "test.csv")
    assert rows(spec, "test") == {"b/3.npy N=0": "dog", "b/3.npy N=1": "dog"}
    (tmp_path / "test.csv").write_text("path,label\nb/3.npy,cow\n")
    with pytest.raises(DataError, match=r"test\.csv: line 2: the label 'cow' is none of the 2 classes"):
        spec.build("test")


def test_labels_in_files_and_in_a_listing_exclude_each_other(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "0.h5", "w") as file:
        file["image"], file["label"] = RNG.integers(0, 256, (3, 8, 8), dtype=np.uint8), np.arange(3)
    (tmp_path / "list.csv").write_text("path,label\n0.h5,x\n")
    spec = HDF5(root=tmp_path, axes="NYX", labels="label", listing=tmp_path / "list.csv")
    with pytest.raises(DataError, match=r"files have labels inside .* `columns: \{label: null\}`"):
        spec.build("train")
    source = spec.model_copy(update={"columns": spec.columns.model_copy(update={"label": None})}).build(
        "train"
    )
    assert source.labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "fields", "message"),
    [
        (TABLE, {"split": {"test": 0.5}}, "its column 'split' says which images are tests"),
        ("path\na/9.npy\n", {}, "line 2: names 'a/9.npy', and there is no such file"),
        ("path\n../x.npy\n", {}, "line 2: names '../x.npy', which does not lie below"),
        ("path,label\na/0.npy,x\na/2.npy,\n", {}, "line 3: has no label"),
    ],
)
def test_faults_are_told_with_their_line(
    root: Path, text: str, fields: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        listed(root, text, **fields).build("train")
    assert message in str(caught.value)


def test_fields_that_exclude_each_other_are_found_by_validation(root: Path) -> None:
    data = {"kind": "npy", "root": root, "test": root, "listing": root.parent / "list.csv"}
    (root.parent / "list.csv").write_text(TABLE)
    with pytest.raises(SpecError, match=r"data\.test: `listing` names .* so `test` needs a `test_listing`"):
        tiny.spec(root.parent / "run", data=data)


def test_the_kit_passes(root: Path) -> None:
    report = check_spec(listed(root, TABLE))
    assert report.passed, "\n".join(report.lines())
