"""Content hashes of files, and what is kept of them."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from sslkit.data import content_hash
from sslkit.data.content_hash import cache_folder, digests_of_files, digests_within, state_of

NAMES = ["a/1.png", "a/2.png", "b/3.png"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A folder of its own, and files that count as settled at once."""
    monkeypatch.setenv("SSLKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(content_hash, "UNSETTLED", -(10**10))
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path):
    for i, name in enumerate(NAMES):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([i]) * 3000)
    return tmp_path / "data"


@pytest.fixture
def reads(monkeypatch):
    """The files that were read."""
    seen = []
    real = content_hash._hash_file

    def hash_file(path):
        seen.append(Path(path).name)
        return real(path)

    monkeypatch.setattr(content_hash, "_hash_file", hash_file)
    return seen


def expected(root, names=NAMES):
    return [hashlib.sha256((root / name).read_bytes()).digest()[:16] for name in names]


def rows(digests):
    return [row.tobytes() for row in digests]


def test_each_file_is_hashed_once(root, reads):
    assert rows(digests_of_files(root, NAMES)) == expected(root)
    assert sorted(reads) == ["1.png", "2.png", "3.png"]
    assert rows(digests_of_files(root, NAMES)) == expected(root)
    assert len(reads) == 3, "the second time nothing is read"


def test_only_a_changed_file_is_read_again(root, reads):
    digests_of_files(root, NAMES)
    reads.clear()
    (root / "a/2.png").write_bytes(b"\7" * 3000)
    assert rows(digests_of_files(root, NAMES)) == expected(root)
    assert reads == ["2.png"]


def test_an_edit_that_keeps_size_time_and_inode_is_seen(root):
    """As `cp -p`, `rsync --times --inplace` and editors of metadata do; the time of the inode cannot be set back."""
    first = digests_of_files(root, NAMES)
    before = (root / "a/1.png").stat()
    (root / "a/1.png").write_bytes(b"\7" * 3000)
    os.utime(root / "a/1.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    after = (root / "a/1.png").stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (
        before.st_size,
        before.st_mtime_ns,
        before.st_ino,
    )
    assert rows(digests_of_files(root, NAMES)) == expected(root) != rows(first)


def test_a_file_that_changed_just_before_is_read_again(root, reads, monkeypatch):
    """It may change once more within a tick of the clock, with the same time."""
    monkeypatch.setattr(content_hash, "UNSETTLED", 10**12)
    digests_of_files(root, NAMES)
    digests_of_files(root, NAMES)
    assert len(reads) == 6


def test_added_removed_and_reordered_files(root, reads):
    digests_of_files(root, NAMES)
    reads.clear()
    (root / "b/4.png").write_bytes(b"new")
    names = ["b/4.png", "b/3.png", "a/1.png"]
    assert rows(digests_of_files(root, names)) == expected(root, names)
    assert reads == ["4.png"]


def test_a_file_that_cannot_be_read_has_zeros_and_is_tried_again(root, reads):
    (root / "a/2.png").unlink()
    (root / "a/2.png").symlink_to(root / "nowhere")
    assert not digests_of_files(root, NAMES)[1].any()
    (root / "nowhere").write_bytes(b"there")
    assert rows(digests_of_files(root, NAMES)) == expected(root)


def test_a_file_that_is_read_piece_by_piece_has_the_same_digest(root, monkeypatch):
    monkeypatch.setattr(content_hash, "LARGE", 100)
    assert rows(digests_of_files(root, NAMES)) == expected(root)


@pytest.mark.parametrize("damage", [b"", b"no archive", None])
def test_damage_costs_time_only(root, cache, damage):
    digests_of_files(root, NAMES)
    (kept,) = (cache / "content").glob("*.npz")
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-40] if damage is None else damage)
    assert rows(digests_of_files(root, NAMES)) == expected(root)
    assert kept.read_bytes()[:2] == b"PK", "and it is whole again"


def test_arrays_of_other_shapes_are_damage_too(root, cache):
    digests_of_files(root, NAMES)
    (kept,) = (cache / "content").glob("*.npz")
    names = np.frombuffer("\0".join(NAMES).encode(), dtype=np.uint8)
    with kept.open("wb") as file:
        np.savez(file, names=names, states=np.zeros((3, 4), np.int64), digests=np.zeros((2, 16), np.uint8))
    assert rows(digests_of_files(root, NAMES)) == expected(root)


def test_a_folder_that_cannot_be_written_costs_time_only(root, tmp_path, monkeypatch, reads):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SSLKIT_CACHE", str(tmp_path / "file"))
    for _ in range(2):
        assert rows(digests_of_files(root, NAMES)) == expected(root)
    assert len(reads) == 6


def _hash(root, queue):
    queue.put(rows(digests_of_files(root, NAMES)))


def test_two_processes_at_once(root):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [context.Process(target=_hash, args=(root, queue)) for _ in range(2)]
    for worker in workers:
        worker.start()
    assert [queue.get(timeout=60) for _ in workers] == [expected(root)] * 2
    for worker in workers:
        worker.join(60)
    assert rows(digests_of_files(root, NAMES)) == expected(root)


@pytest.mark.parametrize(("name", "limit"), [("MOST_FILES", 2), ("MOST_BYTES", 2000)])
def test_the_folder_stays_small_and_keeps_what_was_used_last(root, cache, monkeypatch, name, limit):
    monkeypatch.setattr(content_hash, name, limit)
    for i, folder in enumerate("abcd"):
        (root / folder).mkdir(exist_ok=True)
        (root / folder / "x.png").write_bytes(b"x")
        digests_of_files(root / folder, ["x.png"])
        for path in (cache / "content").glob("*.npz"):
            os.utime(path, ns=(0, path.stat().st_mtime_ns - 10**9))
        assert len(list((cache / "content").glob("*.npz"))) <= min(i + 1, 2)
    assert content_hash._read(content_hash._place(f"files of {(root / 'd').resolve()}")) is not None


def test_images_inside_a_file(tmp_path):
    path, made = tmp_path / "x.bin", []

    def make():
        made.append(path.read_bytes())
        return np.full((2, 16), path.read_bytes()[0], dtype=np.uint8)

    path.write_bytes(b"\1")
    for _ in range(2):
        assert digests_within(path, "img", state_of(path), make).tolist() == [[1] * 16] * 2
    assert len(made) == 1
    path.write_bytes(b"\2")
    assert digests_within(path, "img", state_of(path), make)[0, 0] == 2
    assert digests_within(path, "other", state_of(path), make)[0, 0] == 2
    assert len(made) == 3


def test_a_file_that_changes_while_it_is_hashed_is_kept_under_what_it_was(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(b"\1")
    before = state_of(path)
    path.write_bytes(b"\2\2")
    digests_within(path, "img", before, lambda: np.full((1, 16), 1, dtype=np.uint8))
    again = digests_within(path, "img", state_of(path), lambda: np.full((1, 16), 2, dtype=np.uint8))
    assert again[0, 0] == 2


def test_where_the_folder_is(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("SSLKIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "sslkit"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "sslkit"


def test_what_takes_long_is_told(root, capsys, monkeypatch):
    digests_of_files(root, NAMES)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(content_hash, "WORTH_TELLING", 1000)
    (root / "a/1.png").write_bytes(b"\7" * 3000)
    digests_of_files(root, NAMES)
    assert capsys.readouterr().err == (f"reading 1 files of {root} once to know their content (0 GiB)\n")
