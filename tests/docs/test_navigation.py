"""The navigation of the site: every page once, in groups that a person can take in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

DOCS = ROOT / "docs"
MOST = 10
"""Entries of a group; more than that is read line by line."""
DEPTH = 3
"""A tab, a group in it, a page in that."""

Nav = list[Any]


@pytest.fixture(scope="module")
def nav() -> Nav:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:")[1]
    read: Nav = yaml.safe_load("nav:" + text)["nav"]
    return read


def pages(entries: Nav) -> Iterator[str]:
    for entry in entries:
        title_or_page = entry if isinstance(entry, str) else next(iter(entry.values()))
        yield from [title_or_page] if isinstance(title_or_page, str) else pages(title_or_page)


def groups(entries: Nav, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Nav]]:
    """Path and entries of every group; the page that stands for a group is none of them."""
    for entry in entries:
        if isinstance(entry, str):
            continue
        ((title, value),) = entry.items()
        if isinstance(value, list):
            yield (*path, title), [inner for inner in value if not isinstance(inner, str)]
            yield from groups(value, (*path, title))


def test_every_page_is_there_once(nav: Nav) -> None:
    there = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
    assert sorted(pages(nav)) == there


def test_groups_are_small_and_shallow(nav: Nav) -> None:
    tree = dict(groups(nav))
    assert {path: len(entries) for path, entries in tree.items() if len(entries) > MOST} == {}
    assert [path for path in tree if len(path) > DEPTH - 1] == [], "a page lies at most three deep"
    assert len(nav) <= MOST + 2, "the tabs fit in one line of 1,280 pixels"


def test_titles_of_a_group_differ(nav: Nav) -> None:
    for path, entries in groups(nav):
        titles = [next(iter(entry)) for entry in entries]
        assert len(set(titles)) == len(titles), path
