"""Listing of files: ends of names, class folders, splits, links, and what is left out."""

from __future__ import annotations

import pytest

from sslkit.errors import DataError
from sslkit_science.image_files import Kind, list_files, root_problem

TIFF = Kind("TIFF file", (".tif", ".tiff"), "tifffile")
ANY = Kind("DICOM file", (".dcm", ""), "pydicom")
STORE = Kind("Zarr store", (".zarr",), "zarr", folders=True)


def touch(root, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_files_are_sorted_by_folder_and_name(tmp_path):
    touch(tmp_path, "b/2.TIF", "b/1.tif", "a b/0.tiff", "notes.txt", ".hidden.tif", ".git/x.tif")
    files = list_files(tmp_path, TIFF, False)
    assert files.names == ("a b/0.tiff", "b/1.tif", "b/2.TIF")
    assert files.left_out == 1
    assert files.labels is None
    assert files.path(1) == tmp_path / "b" / "1.tif"


def test_class_folders(tmp_path):
    touch(tmp_path, "cat/1.tif", "cat/deep/2.tif", "dog/1.tif")
    files = list_files(tmp_path, TIFF, True)
    assert (files.classes, files.labels) == (("cat", "dog"), (0, 0, 1))
    touch(tmp_path, "loose.tif")
    with pytest.raises(
        DataError, match=r"'loose\.tif' lies beside class folders \(cat, dog, .*label_folders: false"
    ):
        list_files(tmp_path, TIFF, True)
    assert list_files(tmp_path, TIFF, False).labels is None


@pytest.mark.parametrize("name", ["train", "Test", "TESTING", "val"])
def test_splits_are_no_classes(tmp_path, name):
    touch(tmp_path, f"{name}/1.tif", "other/1.tif")
    with pytest.raises(
        DataError, match=f"the folder '{name}' is a split, not a class; name it, as in root: "
    ):
        list_files(tmp_path, TIFF, True)


def test_test_classes_are_those_of_training(tmp_path):
    touch(tmp_path, "dog/1.tif")
    assert list_files(tmp_path, TIFF, True, ("cat", "dog")).labels == (1,)
    with pytest.raises(DataError, match="class 'dog' is not a class of the training images"):
        list_files(tmp_path, TIFF, True, ("cat", "cow"))


def test_one_file_is_a_root(tmp_path):
    touch(tmp_path, "a.tif", "b.tif")
    files = list_files(tmp_path / "a.tif", TIFF, True)
    assert (files.root, files.names) == (tmp_path, ("a.tif",))


def test_names_without_an_end(tmp_path):
    touch(tmp_path, "IM1", "b.dcm", "c.txt")
    assert list_files(tmp_path, ANY, False).names == ("IM1", "b.dcm")


def test_stores_are_folders(tmp_path):
    touch(tmp_path, "a.zarr/zarr.json", "in/b.zarr/0/zarr.json", "c.zarr.txt")
    assert list_files(tmp_path, STORE, False).names == ("a.zarr", "in/b.zarr")
    assert list_files(tmp_path / "a.zarr", STORE, False).names == ("a.zarr",)


def test_links_in_circles_are_followed_once(tmp_path):
    touch(tmp_path, "in/a.tif")
    (tmp_path / "in" / "up").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "in")
    assert len(list_files(tmp_path, TIFF, False).names) == 1


def test_problems_say_what_was_expected(tmp_path):
    assert root_problem(tmp_path / "no", TIFF).endswith(
        "no such file or folder; expected TIFF file or a folder of them"
    )
    touch(tmp_path, "a.txt")
    assert "holds no TIFF file (.tif, .tiff). Check the path or `extensions`" in root_problem(tmp_path, TIFF)
    with pytest.raises(DataError, match="holds no DICOM file"):
        list_files(tmp_path, ANY, False)
    touch(tmp_path, "a.tif")
    assert root_problem(tmp_path, TIFF) is None
