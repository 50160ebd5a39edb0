"""HTML elements, tables and figures as strings. Text is escaped, markup is not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import final

VOID = frozenset({"img", "br", "meta", "link", "line", "rect", "path", "circle", "polyline", "polygon"})


@final
class Html(str):
    """Markup, as against text."""

    __slots__ = ()


Child = Html | str | int | float | None | Iterable["Child"]
"""Markup, text, a number, nothing, or several of them."""


def tag(name: str, *children: Child, **attributes: object) -> Html:
    """An element.

    Args:
        name: of the element.
        children: what it holds.
        attributes: by name, with `_` for `-`; an underscore at the end is dropped (`class_`). True stands alone, and
            what is None or False is left out.
    """
    markup = "".join(_attribute(key, value) for key, value in attributes.items())
    inner = join(children)
    if name in VOID and not inner:
        return Html(f"<{name}{markup}/>")
    return Html(f"<{name}{markup}>{inner}</{name}>")


def _attribute(key: str, value: object) -> str:
    name = key.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{escape(_text(value))}"'


def join(children: Child) -> Html:
    """Everything in `children`, one after another."""
    if isinstance(children, Html):
        return children
    if children is None:
        return Html("")
    if isinstance(children, str | int | float):
        return Html(escape(_text(children)))
    return Html("".join(join(child) for child in children))


def _text(value: object) -> str:
    """Coordinates with a tenth of a unit."""
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


def table(
    caption: str, headings: Sequence[Child], rows: Iterable[Sequence[Child]], left: Sequence[int] = (0,)
) -> Html:
    """A table in a box of its own, which scrolls where it is wide. The first cell of a row names it.

    Args:
        caption: what it shows.
        headings: of the columns.
        rows: the cells.
        left: columns of text; all others are numbers, at the right edge.
    """

    def cell(name: str, column: int, child: Child, **attributes: object) -> Html:
        return tag(name, child, class_=None if column in left else "n", **attributes)

    head = tag("tr", (cell("th", i, h, scope="col") for i, h in enumerate(headings)))
    body = [
        tag("tr", cell("th", 0, first, scope="row"), (cell("td", i, c) for i, c in enumerate(rest, 1)))
        for first, *rest in rows
    ]
    inner = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", body))
    return tag("div", inner, class_="scroll", tabindex=0, role="region", aria_label=caption)


def facts(items: Iterable[tuple[Child, Child]]) -> Html:
    """A definition list of names and values."""
    return tag("dl", (tag("div", tag("dt", name), tag("dd", value)) for name, value in items), class_="facts")


def folded(title: str, *children: Child) -> Html:
    """What opens on demand, and in print."""
    return tag("details", tag("summary", title), children)


def note(*children: Child) -> Html:
    """A sentence in small print."""
    return tag("p", children, class_="note")


def grid(children: Iterable[Html], wide: bool = False) -> Html:
    """Figures side by side, as many as there is room for."""
    return tag("div", children, class_="grid wide" if wide else "grid")
