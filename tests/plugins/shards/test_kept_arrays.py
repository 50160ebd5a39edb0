"""What is kept of shards, so that each is read once."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from sslkit.errors import DataError
from sslkit.interfaces import cache_folder
from sslkit_shards.kept_arrays import WORTH_TELLING, kept_arrays
from sslkit_shards.shard_files import ShardFiles

KINDS = {"a": "u1", "b": "i8"}


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SSLKIT_CACHE", str(tmp_path / "cache"))
    return cache_folder() / "shards"


@pytest.fixture
def files(tmp_path):
    """Three shards that changed a while ago; `tarfile` need not read them."""
    for name in "abc":
        old(tmp_path / name, name * 3)
    return ShardFiles([str(tmp_path / name) for name in "abc"])


def old(path, text):
    """Write a file as if an hour ago; what changed just now is not believed."""
    path.write_text(text)
    os.utime(path, (time.time() - 3600,) * 2)


class Reader:
    """Counts what is read."""

    def __init__(self, files):
        self.files, self.seen = files, []

    def __call__(self, shard, state):
        self.seen.append(shard)
        content = self.files.read(shard, 0, state.size)
        return {"a": np.frombuffer(content, np.uint8), "b": np.array([shard] * shard)}


@pytest.fixture
def settled(monkeypatch):
    """As if the files had been written long ago: a change of the inode cannot be set back."""
    monkeypatch.setattr("sslkit_shards.kept_arrays.UNSETTLED", -(10**12))


def read(files, about="x"):
    reader = Reader(files)
    arrays = kept_arrays(about, files, KINDS, reader)
    assert [one["a"].tobytes().decode() for one in arrays] == [Path(name).read_text() for name in files.names]
    assert [one["b"].tolist() for one in arrays] == [[i] * i for i in range(len(files.names))]
    return sorted(reader.seen)


def test_a_shard_is_read_once(cache, files, settled):
    assert read(files) == [0, 1, 2]
    assert read(files) == []
    assert read(files, "y") == [0, 1, 2], "something else is kept elsewhere"
    assert len(list(cache.glob("*.npz"))) == 2


def test_only_what_changed_is_read_again(cache, files, settled, tmp_path):
    read(files)
    old(tmp_path / "b", "other")
    assert read(files) == [1]
    more = ShardFiles([*files.names[:1], *files.names[1:], str(tmp_path / "d")])
    old(tmp_path / "d", "new")
    assert read(more) == [3]
    assert read(files) == []


def test_what_changed_just_now_is_not_believed(cache, files):
    assert read(files) == [0, 1, 2]
    assert read(files) == [0, 1, 2]


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut", None])
def test_a_damaged_file_is_made_again(damage, cache, files, settled):
    read(files)
    (path,) = cache.glob("*.npz")
    if damage is None:
        with np.load(path) as content:
            arrays = dict(content) | {"count": np.zeros((3, 2), np.int64)}
        np.savez(path, **arrays)
    else:
        path.write_bytes(damage)
    assert read(files) == [0, 1, 2]
    assert read(files) == []


def test_without_a_place_to_keep_them_they_are_read_each_time(monkeypatch, files, settled, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SSLKIT_CACHE", str(tmp_path / "file" / "below"))
    assert read(files) == [0, 1, 2]
    assert read(files) == [0, 1, 2]


def test_all_faults_are_told_at_once(cache, tmp_path):
    files = ShardFiles([str(tmp_path / f"{i}.tar") for i in range(5)])
    with pytest.raises(DataError) as caught:
        kept_arrays("x", files, KINDS, Reader(files))
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert "0.tar: cannot be read" in lines[0]
    assert lines[-1] == "and 2 more shards"


def test_many_shards_are_told_of(cache, capsys, tmp_path):
    for i in range(WORTH_TELLING):
        (tmp_path / str(i)).write_text("x")
    read(ShardFiles([str(tmp_path / str(i)) for i in range(WORTH_TELLING)]))
    assert f"indexing {WORTH_TELLING} shards (0.0 GiB), once" in capsys.readouterr().err
