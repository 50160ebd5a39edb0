"""Bytes of shards by place."""

from __future__ import annotations

import multiprocessing
import os
import pickle

import pytest

from sslkit.errors import DataError
from sslkit_shards import shard_files
from sslkit_shards.shard_files import MOST_OPEN, TRIES, ShardFiles

CONTENT = bytes(range(256)) * 8


@pytest.fixture(params=["path", "file", "memory"])
def files(request, tmp_path):
    if request.param == "memory":
        from fsspec import filesystem

        filesystem("memory").pipe("/bytes/s.tar", CONTENT)
        return ShardFiles(["memory://bytes/s.tar"])
    (tmp_path / "s.tar").write_bytes(CONTENT)
    return ShardFiles([("file://" if request.param == "file" else "") + str(tmp_path / "s.tar")])


def test_bytes_are_read_by_place(files):
    assert files.read(0, 250, 10) == CONTENT[250:260]
    assert files.read(0, 0, len(CONTENT)) == CONTENT
    scan = files.scanner(0)
    assert [scan(at, 4) for at in (0, 512, 2046)] == [CONTENT[:4], CONTENT[512:516], CONTENT[2046:]]
    assert files.state(0).size == len(CONTENT)
    assert files.state(0) == files.state(0)


def test_a_shard_that_became_shorter_is_told(files):
    with pytest.raises(
        DataError, match=r"s\.tar: has 3 of 5 bytes at 2,045; it changed since it was indexed"
    ):
        files.read(0, 2045, 5)


def test_what_is_not_there_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(shard_files.time, "sleep", lambda seconds: None)
    for name in (str(tmp_path / "no.tar"), "memory://bytes/no.tar"):
        for ask in (lambda f: f.read(0, 0, 1), lambda f: f.state(0)):
            with pytest.raises(DataError, match=r"no\.tar: cannot be read"):
                ask(ShardFiles([name]))


def test_a_changed_file_has_another_state(tmp_path):
    path = tmp_path / "s.tar"
    path.write_bytes(CONTENT)
    files = ShardFiles([str(path)])
    before = files.state(0)
    path.write_bytes(CONTENT)
    os.utime(path, (1, 1))
    assert files.state(0).token != before.token
    assert files.state(0).changed > 0


def test_a_changed_object_of_a_store_has_another_state():
    from fsspec import filesystem

    store = filesystem("memory")
    store.pipe("/bytes/t.tar", CONTENT)
    before = ShardFiles(["memory://bytes/t.tar"]).state(0)
    store.pipe("/bytes/t.tar", CONTENT)
    after = ShardFiles(["memory://bytes/t.tar"]).state(0)
    assert after.size == before.size
    assert after.token != before.token


def test_a_fault_of_a_moment_is_outlived(monkeypatch):
    waits, faults = [], [OSError("busy")] * (TRIES - 1)
    monkeypatch.setattr(shard_files.time, "sleep", waits.append)

    def cat_file(path, start, end):
        if faults:
            raise faults.pop()
        return CONTENT[start:end]

    from fsspec.implementations.memory import MemoryFileSystem

    monkeypatch.setattr(
        MemoryFileSystem, "cat_file", lambda self, path, start, end: cat_file(path, start, end)
    )
    files = ShardFiles(["memory://bytes/s.tar"])
    assert files.read(0, 1, 2) == CONTENT[1:3]
    assert waits == [0.5, 1.0, 2.0]
    faults[:] = [OSError("gone for good")] * TRIES
    with pytest.raises(DataError, match="gone for good"):
        files.read(0, 1, 2)


def test_no_more_files_are_open_than_allowed(tmp_path):
    paths = [tmp_path / f"{i}.tar" for i in range(MOST_OPEN + 5)]
    for i, path in enumerate(paths):
        path.write_bytes(bytes([i]))
    files = ShardFiles([str(path) for path in paths])
    for _ in range(2):
        assert [files.read(i, 0, 1)[0] for i in range(len(paths))] == list(range(len(paths)))
    assert len(files._open) <= MOST_OPEN


def test_open_files_do_not_travel(tmp_path):
    (tmp_path / "s.tar").write_bytes(CONTENT)
    files = ShardFiles([str(tmp_path / "s.tar")])
    files.read(0, 0, 1)
    again = pickle.loads(pickle.dumps(files))
    assert again._open == {}
    assert again.read(0, 5, 1) == b"\x05"


def reads(files, places, right):
    right.value = all(files.read(0, at, 7) == CONTENT[at : at + 7] for at in places)


def test_forked_workers_share_an_open_file_without_a_shared_place(tmp_path):
    (tmp_path / "s.tar").write_bytes(CONTENT)
    files = ShardFiles([str(tmp_path / "s.tar")])
    files.read(0, 0, 1)
    context = multiprocessing.get_context("fork")
    results = [context.Value("b", 0) for _ in range(3)]
    workers = [
        context.Process(target=reads, args=(files, [(i * 97 + k) % 2000 for i in range(500)], results[k]))
        for k in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [result.value for result in results] == [1, 1, 1]
