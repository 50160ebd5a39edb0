"""Markup."""

from __future__ import annotations

import pytest

from sslkit.report.page.html import Html, facts, folded, grid, join, note, table, tag
from tests.report.parsed import Page


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (tag("p", "a < b & c"), "<p>a &lt; b &amp; c</p>"),
        (tag("p", Html("<b>x</b>")), "<p><b>x</b></p>"),
        (tag("p", tag("b", 1), None, " ", 2.0, ["x", ["y"]]), "<p><b>1</b> 2xy</p>"),
        (tag("p", class_="note"), '<p class="note"></p>'),
        (tag("p", aria_label="a", hidden=True, id=None, title=False), '<p aria-label="a" hidden></p>'),
        (tag("p", title='"quoted" <x>'), '<p title="&quot;quoted&quot; &lt;x&gt;"></p>'),
        (tag("svg", viewBox="0 0 1 1"), '<svg viewBox="0 0 1 1"></svg>'),
        (tag("line", x1=1.25, x2=3.0), '<line x1="1.2" x2="3"/>'),
        (tag("img", src="data:,"), '<img src="data:,"/>'),
    ],
)
def test_elements(made, expected):
    assert made == expected
    assert isinstance(made, Html)


def test_joined_parts_escape_text_only():
    assert join(["<", tag("b", "&"), None, 3]) == "&lt;<b>&amp;</b>3"
    assert join(str(i) for i in range(3)) == "012"
    assert join([]) == ""


def test_tables_scroll_and_name_their_rows():
    page = Page(table("Scores", ["Run", "Kind", "Value"], [["a", "x", 1], ["b", "y", 2]], (0, 1)))
    assert page.tables == {"Scores": [["Run", "Kind", "Value"], ["a", "x", "1"], ["b", "y", "2"]]}
    assert page.all("div") == [{"class": "scroll", "tabindex": "0", "role": "region", "aria-label": "Scores"}]
    assert [a.get("scope") for a in page.all("th")] == ["col", "col", "col", "row", "row"]
    assert [a.get("class") for a in page.all("td")] == [None, "n", None, "n"], "numbers are at the right"


def test_small_parts():
    assert facts([("Seed", 3)]) == '<dl class="facts"><div><dt>Seed</dt><dd>3</dd></div></dl>'
    assert folded("More", "x") == "<details><summary>More</summary>x</details>"
    assert note("a", tag("b", "c")) == '<p class="note">a<b>c</b></p>'
    assert grid([tag("figure")]) == '<div class="grid"><figure></figure></div>'
    assert grid([], wide=True) == '<div class="grid wide"></div>'
