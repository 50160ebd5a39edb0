"""Image files below a folder, from kept names too."""

from __future__ import annotations

import shutil
from collections import Counter

import pytest

from sslkit import Folder
from sslkit.data import kept_folders
from sslkit_sources import kept_walk
from sslkit_sources.kept_walk import image_files
from tests.plugins.sources.test_folder import write


@pytest.fixture(autouse=True)
def listed(tmp_path, monkeypatch):
    """The folders that are listed rather than remembered."""
    monkeypatch.setenv("SSLKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kept_folders, "WORTH", 1)
    monkeypatch.setattr(kept_folders, "UNSETTLED", -(10**10))
    seen, real = [], kept_walk.names_in

    def names_in(folder):
        seen.append(folder.name)
        return real(folder)

    monkeypatch.setattr(kept_walk, "names_in", names_in)
    return seen


@pytest.fixture
def root(tmp_path):
    for seed, name in enumerate(["a/1.png", "a/deep/2.png", "b/3.png"]):
        write(tmp_path / "data" / name, seed)
    (tmp_path / "data/a/notes.txt").touch()
    return tmp_path / "data"


def test_files_are_told_apart(root):
    (root / "c").mkdir()
    (root / "c/README").touch()
    below = image_files(root, (".png",))
    assert below.images == {"a/": ["1.png"], "a/deep/": ["2.png"], "b/": ["3.png"]}
    assert below.others == Counter({".txt": 1, "no ending": 1})
    assert below.tops == {"a", "c"}


def test_a_source_from_kept_names_is_the_same(root, listed):
    first = Folder(root=root).build("train")
    assert sorted(listed) == ["a", "b", "data", "deep"]
    second = Folder(root=root).build("train")
    assert sorted(listed) == ["a", "b", "data", "deep"], "nothing was listed again"
    assert list(second.files) == list(first.files) == ["a/1.png", "a/deep/2.png", "b/3.png"]
    assert second.fingerprint == first.fingerprint
    assert second.labels.tolist() == first.labels.tolist() == [0, 0, 1]


def test_a_new_image_is_seen(root, listed):
    Folder(root=root).build("train")
    listed.clear()
    write(root / "b/0.png", 9)
    source = Folder(root=root).build("train")
    assert list(source.files) == ["a/1.png", "a/deep/2.png", "b/0.png", "b/3.png"]
    assert listed == ["b"]


def test_what_links_lead_to_is_looked_at_each_time(root, listed, tmp_path):
    write(tmp_path / "elsewhere/4.png", 4)
    (root / "b/linked").symlink_to(tmp_path / "elsewhere")
    assert list(Folder(root=root).build("train").files)[-1] == "b/linked/4.png"
    shutil.rmtree(tmp_path / "elsewhere")
    write(tmp_path / "elsewhere/5.png", 5)
    listed.clear()
    assert list(Folder(root=root).build("train").files)[-1] == "b/linked/5.png"
    assert set(listed) == {"b", "linked"}
