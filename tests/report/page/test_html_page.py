"""The page around sections."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from sslkit.errors import DataError
from sslkit.report.page.html import Html, tag
from sslkit.report.page.html_page import Head, Section, page, write_page
from tests.report.parsed import Page, require_self_contained

HEAD = Head("A title", "Run", ["It went well.", "Nearly."], [("Seed", "3")])
STYLE = (files("sslkit.report") / "style.css").read_text(encoding="utf-8")


def refused() -> Html:
    raise DataError("images: are gone <for good>")


def section(key: str, make, how: str = "") -> Section:
    return Section(key, key.capitalize(), make, how)


def test_sections_come_in_order_with_links_to_them():
    found = Page(page(HEAD, [section("b", lambda: tag("p", "one")), section("a", lambda: tag("p", "two"))]))
    require_self_contained(found)
    assert found.sections == ["b", "a"]
    assert [a["href"] for a in found.all("a")] == ["#b", "#a"]
    assert [s["aria-labelledby"] for s in found.all("section")] == ["b-title", "a-title"]
    assert "It went well. Nearly. Seed 3 B A B one A two" in found.text
    assert not found.left_out()


def test_what_is_missing_is_named_with_what_to_do():
    made = page(HEAD, [section("a", lambda: None, "add `{kind: x}`"), section("b", refused)])
    found = Page(made)
    assert found.sections == []
    assert found.left_out() == "A: add {kind: x}; B: images: are gone <for good>."
    assert "<code>{kind: x}</code>" in made
    assert "are gone &lt;for good&gt;" in made


def test_a_bug_costs_its_section_only_and_is_named():
    def broken() -> Html:
        raise ZeroDivisionError("of nothing")

    found = Page(page(HEAD, [section("a", broken)]))
    assert found.left_out() == "A: ZeroDivisionError: of nothing."


def test_the_title_is_text():
    found = Page(page(HEAD._replace(title="</title><b>x"), []))
    assert not found.all("b")
    assert "</title><b>x" in found.text


def test_pages_are_replaced_whole(tmp_path):
    path = write_page(tmp_path / "a" / "b.html", "first")
    assert write_page(path, "ünicode").read_bytes() == "ünicode".encode()
    assert [file.name for file in path.parent.iterdir()] == ["b.html"]


def test_the_style_fetches_nothing():
    assert "url(" not in STYLE
    assert "@import" not in STYLE
    assert "http" not in STYLE


def test_every_color_is_defined_for_light_and_dark():
    used = set(re.findall(r"var\((--[\w-]+)\)", STYLE))
    pairs = set(re.findall(r"(--[\w-]+): light-dark\(", STYLE))
    assert used - pairs == {"--share", "--serif", "--sans", "--mono"}, (
        "a share is set by cells, the others are fonts"
    )


@pytest.mark.parametrize(
    "rule", ["@media print", "@media (max-width", "break-inside: avoid", "overflow-x: auto"]
)
def test_print_and_small_screens_are_seen_to(rule):
    assert rule in STYLE
