"""Names in folders that are kept, and when they are listed again."""

from __future__ import annotations

import os

import pytest

from sslkit.data import kept_folders
from sslkit.data.kept_folders import FolderNames, KeptFolders


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A folder of its own; few names are worth it, and what was just made counts as settled."""
    monkeypatch.setenv("SSLKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kept_folders, "WORTH", 2)
    monkeypatch.setattr(kept_folders, "UNSETTLED", -(10**10))
    return tmp_path / "cache" / "folders"


@pytest.fixture
def root(tmp_path):
    for name in ("a/1.png", "a/2.png", "b/3.png"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).touch()
    return tmp_path / "data"


def names_of(root, *, keep=True):
    """(names by folder, folders that were listed)."""
    kept, listed, names = KeptFolders(root), [], {}
    for prefix in ("", "a/", "b/"):

        def look(prefix=prefix):
            listed.append(prefix)
            entries = sorted(os.scandir(root / prefix), key=lambda entry: entry.name)
            files = [entry.name for entry in entries if entry.is_file()]
            return FolderNames([entry.name for entry in entries if entry.is_dir()], files) if keep else None

        names[prefix] = kept.names(prefix, (root / prefix).stat(), look)
    kept.write()
    return names, listed


EVERY = {
    "": FolderNames(["a", "b"], []),
    "a/": FolderNames([], ["1.png", "2.png"]),
    "b/": FolderNames([], ["3.png"]),
}


def test_a_folder_that_did_not_change_is_listed_once(root):
    assert names_of(root) == (EVERY, ["", "a/", "b/"])
    assert names_of(root) == (EVERY, [])


@pytest.mark.parametrize("change", ["new", "gone", "renamed"])
def test_a_folder_that_changed_is_listed_again(root, change):
    names_of(root)
    match change:
        case "new":
            (root / "a/9.png").touch()
        case "gone":
            (root / "a/2.png").unlink()
        case "renamed":
            (root / "a/2.png").rename(root / "a/5.png")
    names, listed = names_of(root)
    assert listed == ["a/"]
    assert names["a/"].files == sorted(path.name for path in (root / "a").iterdir())
    assert names_of(root) == (names, []), "which is kept in turn"


def test_a_folder_that_was_replaced_by_one_of_the_same_time_is_listed_again(root):
    names_of(root)
    before = (root / "b").stat()
    (root / "b").rename(root.parent / "other")
    (root / "b").mkdir()
    (root / "b/4.png").touch()
    os.utime(root / "b", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert names_of(root)[0]["b/"].files == ["4.png"]


def test_names_that_changed_just_now_are_not_kept(root, monkeypatch, cache):
    monkeypatch.setattr(kept_folders, "UNSETTLED", 10**15)
    assert names_of(root)[1] == ["", "a/", "b/"]
    assert names_of(root)[1] == ["", "a/", "b/"]
    assert not list(cache.glob("*")), "so there is nothing to write"


def test_folders_of_links_are_not_kept(root, cache):
    names, _ = names_of(root, keep=False)
    assert set(names.values()) == {None}
    assert not list(cache.glob("*"))


def test_few_names_are_not_worth_a_file(root, monkeypatch, cache):
    monkeypatch.setattr(kept_folders, "WORTH", 4)
    names_of(root)
    assert not cache.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"\x80\x04no array"])
def test_a_damaged_file_is_made_again(root, cache, content):
    names_of(root)
    (path,) = cache.glob("*.npz")
    path.write_bytes(content)
    assert names_of(root) == (EVERY, ["", "a/", "b/"])
    assert names_of(root) == (EVERY, [])


def test_without_a_place_for_it_folders_are_listed(root, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SSLKIT_CACHE", str(tmp_path / "file"))
    assert names_of(root) == (EVERY, ["", "a/", "b/"])
    assert names_of(root) == (EVERY, ["", "a/", "b/"])
