"""Files are whole or absent."""

from __future__ import annotations

import json
import os
import resource

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from sslkit.errors import StorageError
from sslkit.runtime.atomic_files import draw_whole, sync_folder, write_json, write_text, write_whole
from tests.full_disk import fill


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
        with pytest.raises(
            StorageError, match=r"a\.txt: could not be written: No space left.*Free some space"
        ):
            write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def torch_file(file):
    torch.save({"weight": torch.zeros(1000)}, file)


def numpy_file(file):
    np.save(file, np.zeros(1000))


def numpy_archive(file):
    np.savez(file, zeros=np.zeros(1000))


def picture(file):
    figure = Figure(figsize=(2, 2))
    figure.add_subplot().plot([1, 3, 2])
    figure.savefig(file, format="png")


WRITERS = [torch_file, numpy_file, numpy_archive, picture]


@pytest.mark.parametrize("write", WRITERS)
def test_a_full_disk_is_told_in_words_for_people_whoever_writes(disk, write):
    """Torch says "unexpected pos 64 vs 0" and numpy "1000 requested and 0 written"."""
    path = disk / "a.bin"
    write_text(path, "old")
    fill(disk)
    with pytest.raises(StorageError) as caught:
        write_whole(path, write)
    assert str(caught.value) == (
        f"{path}: could not be written: No space left on device. Free some space on its disk"
    )
    assert path.read_text() == "old"
    assert sorted(p.name for p in disk.iterdir()) == ["a.bin", "filler"]


@pytest.mark.parametrize("write", WRITERS)
def test_whoever_writes_the_file_can_be_read(tmp_path, write):
    path = tmp_path / "deep" / "a.bin"
    write_whole(path, write)
    readers = {
        torch_file: lambda: torch.load(path, weights_only=True)["weight"].sum(),
        numpy_file: lambda: np.load(path).sum(),
        numpy_archive: lambda: np.load(path)["zeros"].sum(),
        picture: lambda: Image.open(path).verify() or 0,
    }
    assert readers[write]() == 0
    assert [p.name for p in path.parent.iterdir()] == ["a.bin"]


def test_a_drawing_is_whole_or_absent_too(tmp_path):
    path = tmp_path / "figures" / "a.png"
    endings = []

    def draw(drawing):
        endings.append(drawing.suffix)
        drawing.write_bytes(b"new")

    draw_whole(path, draw)
    assert (path.read_bytes(), endings) == (b"new", [".png"])

    def half(drawing):
        drawing.write_bytes(b"ne")
        raise ValueError("no such color")

    with pytest.raises(ValueError, match="no such color"):
        draw_whole(path, half)
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_a_limit_of_file_sizes_and_a_file_in_the_way_are_told_too(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(
            StorageError, match=r"a\.pt: could not be written: File too large\. Raise the limit"
        ):
            write_whole(tmp_path / "a.pt", torch_file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match=r"file/a\.txt: could not be written: "):
        write_text(tmp_path / "file" / "a.txt", "text")


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
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "b")
