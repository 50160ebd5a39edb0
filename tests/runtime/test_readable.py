"""Absent is what is known to be absent; anything else is an error that names the path."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from sslkit.errors import StorageError
from sslkit.runtime.readable import listed, present, reading


def test_what_is_there_is_present(tmp_path):
    (tmp_path / "b").touch()
    (tmp_path / "a").mkdir()
    assert present(tmp_path / "a")
    assert present(tmp_path / "b")
    assert listed(tmp_path) == [tmp_path / "a", tmp_path / "b"]


def test_what_is_not_there_is_absent(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for path in (tmp_path / "none", tmp_path / "none" / "x", tmp_path / "file" / "x", tmp_path / "link"):
        assert not present(path)
    assert listed(tmp_path / "none") == listed(tmp_path / "file" / "x") == []
    with pytest.raises(FileNotFoundError), reading(tmp_path / "file" / "x"):
        (tmp_path / "file" / "x").read_bytes()


def test_a_file_is_no_folder_without_anything(tmp_path):
    """`checkpoints` that is a file is not to be written over."""
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file: cannot be read: Not a directory"):
        listed(tmp_path / "file")


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ESTALE, errno.ELOOP])
@pytest.mark.parametrize(("look", "method"), [(present, "stat"), (listed, "iterdir")])
def test_any_other_error_is_told(tmp_path, monkeypatch, number, look, method):
    def fail(path, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, method, fail)
    with pytest.raises(StorageError) as error:
        look(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}: cannot be read: {os.strerror(number)}. Nothing was changed; try again when it can"
    )


def test_what_is_told_already_stays_as_it_is(tmp_path):
    with pytest.raises(StorageError, match=r"^as it is$"), reading(tmp_path):
        raise StorageError("as it is")
    with pytest.raises(FileNotFoundError), reading(tmp_path / "x"):
        (tmp_path / "x").read_bytes()
