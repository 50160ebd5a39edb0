"""Test splits drawn from scientific files: whole files, folders or patients, and images of a single file."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from sslkit.errors import DataError, SslkitWarning
from sslkit_science.specs.arrays import HDF5, NumPy, Zarr
from sslkit_science.specs.medical import DICOM, NIfTI
from sslkit_science.specs.tiff import TIFF
from tests import tiny

RNG = np.random.default_rng(0)
SPECS = (TIFF, DICOM, NIfTI, Zarr, HDF5, NumPy)


def stacks(root: Path, folders: int, each: int, classes: tuple[str, ...] = ("",)) -> Path:
    """Files of three images each."""
    for label in classes:
        for folder in range(folders):
            for i in range(each):
                path = root / label / f"f{folder}" / f"{i}.npy"
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, RNG.integers(0, 256, (3, 8, 8), dtype=np.uint8))
    return root


def names(spec: NumPy, split: str) -> list[str]:
    source = spec.build(split)
    return [source.name(i) for i in range(len(source))]


@pytest.mark.parametrize("cls", SPECS, ids=lambda cls: cls.kind_name())
def test_every_kind_draws_and_refuses_two_ways_of_naming_tests(cls: type, tmp_path: Path) -> None:
    assert cls.model_fields["split"].default is None
    both = cls(root=tmp_path, test=tmp_path, split={"test": 0.5})
    assert [p.path for p in both.problems(None) if "leave one out" in p.message] == ["split"]
    with pytest.raises(DataError, match=r"`split` draws the test split from `root`, and `test` names one"):
        both.build("train")


def test_images_of_one_file_are_never_divided(tmp_path: Path) -> None:
    spec = NumPy(root=stacks(tmp_path, 6, 4), axes="NYX", split={"test": 0.4}, label_folders=False)
    train, test = names(spec, "train"), names(spec, "test")
    assert {name.split()[0] for name in train}.isdisjoint(name.split()[0] for name in test)
    whole = NumPy(root=tmp_path, axes="NYX", label_folders=False)
    assert sorted(train + test) == sorted(names(whole, "train"))
    assert len(test) % 3 == 0
    assert tiny.spec(tmp_path / "run", data=spec.model_dump())
    stacks(tmp_path, 8, 4)
    assert set(test) <= set(names(spec, "test")), "more files move none"


def test_folders_stay_together_whatever_the_class(tmp_path: Path) -> None:
    root = stacks(tmp_path, 7, 2, ("a", "b"))
    spec = NumPy(root=root, axes="NYX", split={"test": 0.4, "by": "folder", "seed": 2})
    train, test = spec.build("train"), spec.build("test")
    folders = [{name.split("/")[1] for name in names(spec, split)} for split in ("train", "test")]
    assert not folders[0] & folders[1]
    assert train.classes == test.classes == ("a", "b")
    for source in (train, test):
        assert source.labels.tolist() == [int(source.name(i)[0] == "b") for i in range(len(source))]
    flat = NumPy(root=root / "a", axes="NYX", split={"test": 0.4, "by": "folder"})
    with pytest.raises(DataError, match=r"14 of 14 files lie in none .* `label_folders: false`"):
        flat.build("train")
    patients = flat.model_copy(update={"label_folders": False})
    folders = [{name.split("/")[0] for name in names(patients, split)} for split in ("train", "test")]
    assert not folders[0] & folders[1]


def test_images_of_the_only_file_are_drawn(tmp_path: Path) -> None:
    np.save(tmp_path / "all.npy", RNG.integers(0, 256, (40, 8, 8), dtype=np.uint8))
    spec = NumPy(root=tmp_path / "all.npy", axes="NYX", split={"test": 0.25})
    train, test = spec.build("train"), spec.build("test")
    whole = NumPy(root=tmp_path / "all.npy", axes="NYX").build("train")
    places = {whole.name(i): i for i in range(40)}
    drawn = [places[source.name(i)] for source in (train, test) for i in range(len(source))]
    assert sorted(drawn) == list(range(40))
    assert 0 < len(test) < 20
    for i in range(len(test)):
        assert (test.load(i) == whole.load(places[test.name(i)])).all()
    assert len({source.fingerprint for source in (train, test, whole)}) == 3
    np.save(tmp_path / "all.npy", RNG.integers(0, 256, (60, 8, 8), dtype=np.uint8))
    assert set(names(spec, "test")) >= {test.name(i) for i in range(len(test))}


def test_labels_inside_the_only_file(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file["image"] = RNG.integers(0, 256, (30, 8, 8), dtype=np.uint8)
        file["label"] = np.arange(30) % 3
    spec = HDF5(root=tmp_path / "all.h5", axes="NYX", labels="label", split={"test": 0.4})
    train, test = spec.build("train"), spec.build("test")
    assert train.classes == test.classes == ("0", "1", "2")
    assert len(train) + len(test) == 30
    counts = np.bincount([*train.labels.tolist(), *test.labels.tolist()])
    assert counts.tolist() == [10, 10, 10]


@pytest.mark.filterwarnings("ignore:data.split. .*another `seed` may do better")
def test_patients_stay_together(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    from tests.plugins.science.sample_files import dicom

    for patient in range(8):
        for image in range(3):
            pixels = RNG.integers(0, 65536, (9, 8)).astype(np.uint16)
            file = dicom(pixels, PatientID=f"p{patient}", BitsStored=16, HighBit=15)
            (tmp_path / str(image)).mkdir(exist_ok=True)
            file.save_as(tmp_path / str(image) / f"{patient}.dcm", enforce_file_format=True)
    (tmp_path / "damaged.dcm").write_bytes(b"words")
    spec = DICOM(root=tmp_path, split={"test": 0.4, "by": "group", "seed": 1})
    patients = [{Path(name).stem for name in names(spec, split)} - {"damaged"} for split in ("train", "test")]
    assert not patients[0] & patients[1]
    assert patients[0] | patients[1] == {str(i) for i in range(8)}
    with pytest.warns(SslkitWarning, match="parts slices and frames of one patient; `by: group` keeps them"):
        DICOM(root=tmp_path, split={"test": 0.4}).build("train")
    dicom(pixels, BitsStored=16, HighBit=15).save_as(tmp_path / "x.dcm", enforce_file_format=True)
    with pytest.raises(DataError, match=r"x\.dcm: has no patient \(PatientID\)"):
        spec.build("train")


def test_what_cannot_be_divided_is_refused(tmp_path: Path) -> None:
    root = stacks(tmp_path, 1, 2)
    for by, message in (
        ("group", "has no group, as files of this format name none"),
        ("folder", "has 1 folder to divide, so one split would be empty"),
    ):
        spec = NumPy(root=root, axes="NYX", split={"test": 0.5, "by": by}, label_folders=False)
        with pytest.raises(DataError, match=message):
            spec.build("train")
    with pytest.raises(DataError, match="none is for test; raise `test`"):
        NumPy(root=root, axes="NYX", split={"test": 0.001}, label_folders=False).build("test")


def test_nothing_changes_without_a_split(tmp_path: Path) -> None:
    root = stacks(tmp_path, 2, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source = NumPy(root=root, axes="NYX").build("train")
    assert len(source) == 12
    assert NumPy(root=root, axes="NYX").build("test") is None
