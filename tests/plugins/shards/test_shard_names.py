"""Shards by path, folder, pattern and braces."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sslkit.errors import DataError
from sslkit_shards.shard_names import (
    compressed_problem,
    expanded,
    is_remote,
    local,
    shards_of,
    shards_problem,
    shared_problem,
)
from tests.plugins.shards.tars import write_shards


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.tar", ["a.tar"]),
        ("{08..11}.tar", ["08.tar", "09.tar", "10.tar", "11.tar"]),
        ("{8..11}.tar", ["8.tar", "9.tar", "10.tar", "11.tar"]),
        ("{a,b}-{0..1}.tar", ["a-0.tar", "a-1.tar", "b-0.tar", "b-1.tar"]),
        ("s3://b/{000..002}/x.tar", ["s3://b/000/x.tar", "s3://b/001/x.tar", "s3://b/002/x.tar"]),
        ("{x}.tar", ["x.tar"]),
    ],
)
def test_braces_count_and_list(pattern, names):
    assert list(expanded(pattern)) == names


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("{3..1}.tar", "{3..1} counts down"), ("{0..9999999}.tar", "stands for more than 1,000,000 shards")],
)
def test_braces_that_are_not_meant_are_refused(pattern, message):
    with pytest.raises(DataError, match=re.escape(message)):
        list(expanded(pattern))


def test_a_product_of_ranges_is_limited_as_a_whole():
    with pytest.raises(DataError, match="more than 1,000,000 shards"):
        list(expanded("{0..99999}-{0..99999}.tar"))


@pytest.fixture
def folder(tmp_path):
    write_shards(tmp_path / "train", [2, 1, 3])
    write_shards(tmp_path / "train" / "more", [1], first=6, name="x{}.tar")
    (tmp_path / "train" / "notes.txt").write_text("no shard")
    return tmp_path / "train"


def relative(names, folder):
    return [str(Path(name).relative_to(folder)) for name in names]


def test_folders_patterns_and_lists_name_shards(folder):
    first = ["000000.tar", "000001.tar", "000002.tar"]
    assert relative(shards_of([str(folder)]), folder) == [*first, "more/x0.tar"]
    assert relative(shards_of([f"{folder}/0*.tar"]), folder) == first
    assert relative(shards_of([f"{folder}/{{000002..000002}}.tar", f"{folder}/000000.tar"]), folder) == [
        "000002.tar",
        "000000.tar",
    ]
    assert relative(shards_of([f"file://{folder}/**/x*.tar"]), folder) == ["more/x0.tar"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{000000..000004}.tar", "000003.tar: no such shard; expected a .tar file"),
        ("nothing-*.tar", "nothing-*.tar: no such shard"),
    ],
)
def test_shards_that_are_missing_are_named(folder, pattern, message):
    with pytest.raises(DataError, match=re.escape(message)):
        shards_of([f"{folder}/{pattern}"])
    assert message in str(shards_problem(f"{folder}/{pattern}"))


def test_a_relative_path_says_where_it_was_looked_for(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert f"(looked from {tmp_path})" in str(shards_problem("data/*.tar"))


def test_a_shard_counts_once(folder):
    with pytest.raises(DataError, match=r"000001\.tar: is named twice"):
        shards_of([str(folder), f"{folder}/000001.tar"])


@pytest.mark.parametrize("name", ["a.tar.gz", "A.TGZ", "s3://bucket/x.tar.zst"])
def test_compressed_shards_are_refused_with_the_way_out(name):
    assert re.search(r"is compressed.*`sslkit data pack`", str(compressed_problem(name)))
    assert compressed_problem("a.tar") is None
    if is_remote(name):
        assert "is compressed" in str(shards_problem(name))
        with pytest.raises(DataError, match="is compressed"):
            shards_of([name])


def test_other_machines_are_not_asked_beforehand():
    assert shards_problem("s3://bucket/{0..3}.tar") is None
    assert is_remote("s3://b/a.tar")
    assert not is_remote("file:///a.tar")
    assert local("file:///a.tar") == "/a.tar"
    assert local("~/a.tar") == str(Path("~/a.tar").expanduser())


def test_a_shard_of_both_splits_is_refused(folder, tmp_path):
    link = tmp_path / "other.tar"
    link.symlink_to(folder / "000001.tar")
    assert "is a shard of the training images too" in str(shared_problem([str(folder)], [str(link)]))
    assert shared_problem([f"{folder}/000000.tar"], [str(link)]) is None
    assert shared_problem([f"{folder}/000000.tar"], ["s3://bucket/x.tar"]) is None


def test_stores_are_listed():
    from fsspec import filesystem

    files = filesystem("memory")
    for name in ("/listed/b.tar", "/listed/a.tar", "/listed/c.txt"):
        files.pipe(name, b"x")
    both = ["memory:///listed/a.tar", "memory:///listed/b.tar"]
    assert shards_of(["memory://listed/*.tar"]) == both
    assert shards_of(["memory://listed"]) == both
    assert shards_of(["memory://listed/a.tar"]) == ["memory://listed/a.tar"]
    with pytest.raises(DataError, match=r"memory://listed/z\*\.tar: no such shard"):
        shards_of(["memory://listed/z*.tar"])
    with pytest.raises(DataError, match=r"nosuch://x: cannot be (listed|opened)"):
        shards_of(["nosuch://x"])
