"""Whole copies of remote shards."""

from __future__ import annotations

import multiprocessing
import os

import pytest

from sslkit.errors import DataError
from sslkit_shards.local_copies import Kept, LocalCopies
from sslkit_shards.shard_files import ShardFiles

SIZE = 1000


class Store:
    """Counts what is fetched."""

    def __init__(self):
        self.fetched = []

    def fetch(self, name):
        def write(path):
            self.fetched.append(name)
            path.write_bytes(name.encode() * (SIZE // len(name)))

        return write


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def copies(tmp_path):
    """With room for three."""
    return LocalCopies(Kept(tmp_path / "copies", 3 * SIZE))


def read(copies, store, name, token=1):
    return copies.read(name, token, store.fetch(name), 0, 2)


def held(copies):
    """Bytes of copies that are there."""
    return sum(path.stat().st_size for path in copies.kept.folder.glob("*.tar"))


def test_a_shard_is_fetched_once(copies, store):
    assert [read(copies, store, name) for name in ("ab", "cd", "ab", "cd")] == [b"ab", b"cd", b"ab", b"cd"]
    assert store.fetched == ["ab", "cd"]
    again = LocalCopies(copies.kept)
    assert again.read("ab", 1, store.fetch("ab"), 998, 2) == b"ab"
    assert store.fetched == ["ab", "cd"]


def test_a_shard_that_changed_is_fetched_again(copies, store):
    read(copies, store, "ab")
    assert read(copies, store, "ab", token=2) == b"ab"
    assert store.fetched == ["ab", "ab"]


def test_the_copy_that_was_not_read_for_the_longest_goes_first(copies, store):
    for time, name in enumerate(("ab", "cd", "ef")):
        read(copies, store, name)
        newest = max(copies.kept.folder.glob("*.tar"), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, (time, time))
    read(copies, store, "ab")
    read(copies, store, "gh")
    assert held(copies) == 3 * SIZE
    store.fetched.clear()
    for name in ("ab", "ef", "gh"):
        read(copies, store, name)
    assert store.fetched == [], "only cd is gone"


def test_a_fetch_that_fails_leaves_no_copy(copies, store):
    def fail(path):
        path.write_bytes(b"half")
        raise OSError("the line is cut")

    with pytest.raises(DataError, match=r"copies: no copy of ab can be kept: the line is cut"):
        copies.read("ab", 1, fail, 0, 2)
    assert list(copies.kept.folder.glob("*.tar")) == []
    assert read(copies, store, "ab") == b"ab"


def test_a_folder_that_cannot_be_written_is_told(tmp_path, store):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="no copy of ab can be kept: "):
        read(LocalCopies(Kept(tmp_path / "file" / "below", SIZE)), store, "ab")


def test_a_copy_larger_than_all_the_room_is_kept_alone(tmp_path, store):
    small = LocalCopies(Kept(tmp_path / "small", SIZE // 2))
    assert [read(small, store, name) for name in ("ab", "cd", "cd")] == [b"ab", b"cd", b"cd"]
    assert store.fetched == ["ab", "cd"]
    assert held(small) == SIZE


def fetch_slowly(folder, log, right):
    def fetch(path):
        with log.get_lock():
            log.value += 1
        path.write_bytes(b"ab" * 500)

    copies = LocalCopies(Kept(folder, 3 * SIZE))
    right.value = all(copies.read("ab", 1, fetch, 2 * i, 2) == b"ab" for i in range(100))


def test_workers_share_copies(tmp_path):
    context = multiprocessing.get_context("fork")
    log, results = context.Value("i", 0), [context.Value("b", 0) for _ in range(4)]
    workers = [context.Process(target=fetch_slowly, args=(tmp_path / "copies", log, one)) for one in results]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [one.value for one in results] == [1] * 4
    assert log.value == 1


def asked(*_, **__):
    raise AssertionError("the store is asked again")


def test_remote_shards_are_read_from_copies(tmp_path, monkeypatch):
    from fsspec import filesystem
    from fsspec.implementations.memory import MemoryFileSystem

    content = bytes(range(256)) * 4
    filesystem("memory").pipe("/copied/a.tar", content)
    files = ShardFiles(["memory://copied/a.tar"], Kept(tmp_path / "copies", 10**6))
    assert files.read(0, 100, 50) == content[100:150]
    for method in ("cat_file", "get_file"):
        monkeypatch.setattr(MemoryFileSystem, method, asked)
    assert files.read(0, 200, 56) == content[200:256]
    local = tmp_path / "b.tar"
    local.write_bytes(content)
    assert ShardFiles([str(local)], Kept(tmp_path / "none", 10)).read(0, 0, 4) == content[:4]
    assert not (tmp_path / "none").exists(), "local shards are not copied"
