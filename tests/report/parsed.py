"""A page as a reader's program sees it."""

from __future__ import annotations

import itertools
from html.parser import HTMLParser

INLINE = {"b", "code", "strong"}
VOID = {"meta", "link", "img", "line", "rect", "path", "polyline", "polygon", "br"}


class Page(HTMLParser):
    """Every element with its attributes, every table, and the text; fails on elements that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self._rows: list[list[str]] = []
        self._caption = ""
        self.feed(text)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag not in INLINE:
            self.texts.append(" ")
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in {"td", "th"}:
            self._rows[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another element"
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.texts.append(data)
        if "caption" in self.open:
            self._caption += data
        elif {"td", "th"} & set(self.open):
            self._rows[-1][-1] += data

    @property
    def text(self) -> str:
        """What is to be read, without markup."""
        return " ".join("".join(self.texts).split())

    @property
    def sections(self) -> list[str]:
        """Their anchors, in order."""
        return [attrs["id"] for tag, attrs in self.elements if tag == "section"]

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every element of a kind."""
        return [attrs for name, attrs in self.elements if name == tag]

    def left_out(self) -> str:
        """The text from the line on what was left out."""
        return self.text.partition("Left out. ")[2].partition(" Made by")[0]


def require_self_contained(page: Page) -> None:
    """Nothing may be fetched; everything has a text for those who cannot see it."""
    for tag, attrs in page.elements:
        for name, value in attrs.items():
            if name in {"src", "href", "srcset", "data", "action", "poster", "xlink:href"}:
                assert value.startswith(("data:", "#")), f"<{tag} {name}={value[:60]!r}> asks the network"
    for image in page.all("img"):
        assert image["src"].startswith(("data:image/png;base64,", "data:image/jpeg;base64,"))
        assert image["alt"].strip()
        assert int(image["width"]) > 0
        assert int(image["height"]) > 0, "known sizes, so that nothing moves when pictures come"
    for drawing in page.all("svg"):
        assert drawing["role"] == "img"
        assert drawing["aria-label"].strip()
    anchors = {attrs["id"] for _, attrs in page.elements if "id" in attrs}
    assert {link["href"][1:] for link in page.all("a")} <= anchors, "links lead somewhere"
    assert len(anchors) == sum("id" in attrs for _, attrs in page.elements), "no anchor twice"
    headings = [int(tag[1]) for tag, _ in page.elements if tag in {"h1", "h2", "h3"}]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(headings))
    assert all(caption for caption in page.tables), "every table has a caption"
