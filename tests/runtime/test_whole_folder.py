"""Folders are whole or absent."""

from __future__ import annotations

import os
import platform
import shutil

import pytest

from sslkit.errors import StorageError
from sslkit.runtime.atomic_files import temporary_path
from sslkit.runtime.whole_folder import whole_folder


def write(path, error=None):
    """A folder with one file, at which `error` strikes."""
    with whole_folder(path) as folder:
        (folder / "a.txt").write_text("a")
        if error is not None:
            raise error


def test_what_is_written_is_there_at_the_end(tmp_path):
    with whole_folder(tmp_path / "deep" / "net") as folder:
        (folder / "inside").mkdir()
        (folder / "inside" / "a.txt").write_text("a")
        assert not (tmp_path / "deep" / "net").exists()
    assert (tmp_path / "deep" / "net" / "inside" / "a.txt").read_text() == "a"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["net"]


def test_an_empty_folder_is_replaced(tmp_path):
    (tmp_path / "net").mkdir()
    write(tmp_path / "net")
    assert (tmp_path / "net" / "a.txt").read_text() == "a"


def test_a_folder_that_holds_something_stays(tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "mine.txt").write_text("mine")
    with pytest.raises(StorageError, match="net: could not be written: Directory not empty"):
        write(tmp_path / "net")
    assert [path.name for path in (tmp_path / "net").iterdir()] == ["mine.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_an_error_leaves_nothing(tmp_path, error):
    with pytest.raises(type(error)):
        write(tmp_path / "net", error)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_of(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match=r"net: could not be written: No space left.*Free some space"):
            write(tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed(tmp_path):
    """A process id above the largest that Linux gives."""
    left = tmp_path / f".net.99999999@{platform.node()}.tmp"
    left.mkdir()
    (left / "a.txt").write_text("half")
    write(tmp_path / "net")
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


def test_what_a_living_process_writes_stays(tmp_path):
    other = tmp_path / temporary_path(tmp_path / "net").name.replace(str(os.getpid()), str(os.getppid()))
    other.mkdir()
    write(tmp_path / "net")
    assert other.is_dir()
    shutil.rmtree(other)
