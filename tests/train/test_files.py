"""Files are whole or absent."""

from __future__ import annotations

import json
import os

import pytest

from sslkit.train import files
from sslkit.train.files import sync_file, sync_folder, write_json, write_text, write_whole


def test_text_replaces_what_was_there(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old and longer")
    write_text(path, "neu \N{SNOWMAN}")
    assert path.read_text(encoding="utf-8") == "neu \N{SNOWMAN}"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, broken):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync") if broken == "fsync" else (type(path), "replace")), fail)
        with pytest.raises(OSError, match="No space left"):
            write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_names_the_file(tmp_path):
    """The system says no name where writing fails; the command line shows the one that is found."""
    path = tmp_path / "a.txt"

    def fill(file):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"No space left on device: .*a\.txt") as error:
        write_whole(path, fill)
    assert error.value.filename == str(path)
    with pytest.raises(FileNotFoundError) as missing:
        write_text(tmp_path / "nowhere" / "a.txt", "text")
    assert str(missing.value.filename).startswith(str(tmp_path / "nowhere")), (
        "what names a file keeps its own"
    )


def test_everything_is_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    """The order of the calls is what survives a loss of power."""
    calls = []
    fsync, replace = os.fsync, type(tmp_path).replace

    def note_fsync(descriptor):
        calls.append("file" if os.path.isfile(f"/dev/fd/{descriptor}") else "folder")  # noqa: PTH113
        fsync(descriptor)

    def note_replace(self, target):
        calls.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(type(tmp_path), "replace", note_replace)
    write_text(tmp_path / "a", "x")
    assert calls == ["file", "rename", "folder"]


def test_json_is_readable_and_keeps_its_order(tmp_path):
    data = {"b": 1, "a": {"z": [1.5, None], "y": "x"}}
    write_json(tmp_path / "a.json", data)
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == data
    assert text.startswith('{\n  "b": 1,\n')
    assert text.endswith("}\n")


def test_syncing_what_is_missing_is_an_error(tmp_path):
    sync_folder(tmp_path)
    (tmp_path / "a").write_text("x")
    sync_file(tmp_path / "a")
    with pytest.raises(FileNotFoundError):
        sync_file(tmp_path / "b")
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "b")


@pytest.mark.parametrize("content", [None, "", "{", "[1]", "null"])
def test_a_summary_that_is_missing_or_damaged_holds_nothing(tmp_path, content):
    if content is not None:
        (tmp_path / files.SUMMARY).write_text(content)
    assert files.read_summary(tmp_path) == {}
    (tmp_path / files.SUMMARY).write_text('{"finished": true}')
    assert files.read_summary(tmp_path) == {"finished": True}
