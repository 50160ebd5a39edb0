"""The HTML page around sections: one file with its style and script inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from sslkit.errors import SslkitError
from sslkit.report.page.html import Html, facts, join, tag
from sslkit.runtime.atomic_files import write_text


class Section(NamedTuple):
    """A part of the page that may have nothing to show."""

    key: str
    """Its anchor."""
    title: str
    make: Callable[[], Html | None]
    """Its content; None where there is nothing to show."""
    how: str
    """How a reader gets it where there is nothing."""


class Head(NamedTuple):
    """What stands above all sections."""

    title: str
    kind: str
    """What the page is."""
    verdict: Sequence[str]
    key_facts: Sequence[tuple[str, str]] = ()


def page(head: Head, sections: Sequence[Section]) -> str:
    """The whole file. Sections without content are left out, and a line at the end says how to get them.

    A section whose data is missing or damaged is left out alike, with the reason.
    """
    shown, missing = list[tuple[Section, Html]](), list[tuple[str, str]]()
    for section in sections:
        try:
            content = section.make()
        except SslkitError as error:
            missing.append((section.title, str(error)))
            continue
        except Exception as error:  # as of what a plugin stored: the other sections are there all the same
            missing.append((section.title, f"{type(error).__name__}: {error}"))
            continue
        if content is None:
            missing.append((section.title, section.how))
        else:
            shown.append((section, content))
    body = tag(
        "body",
        _header(head, [section for section, _ in shown]),
        tag("main", (_section(section, content) for section, content in shown), _left_out(missing)),
        tag("footer", tag("p", f"Made by sslkit {_version()}. This file needs no network.")),
        tag("script", Html(_asset("script.js"))),
    )
    return f'<!DOCTYPE html>\n<html lang="en">{_meta(head.title)}{body}</html>\n'


def write_page(path: Path, text: str) -> Path:
    """Write `text` to `path`, whole or not at all; its folder is made."""
    write_text(path, text)
    return path


def _asset(name: str) -> str:
    return (files("sslkit.report") / name).read_text(encoding="utf-8")


def _version() -> str:
    from sslkit import __version__

    return __version__


def _meta(title: str) -> Html:
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name_="color-scheme", content="light dark"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        tag("style", Html(_asset("style.css"))),
    )


def _header(head: Head, shown: Sequence[Section]) -> Html:
    toggle = tag("button", "Dark", id="theme", type="button", aria_label="Switch between light and dark")
    top = tag("div", tag("p", head.kind, class_="kind"), toggle, class_="top")
    links = tag("nav", (tag("a", s.title, href=f"#{s.key}") for s in shown), aria_label="Sections")
    verdicts = (tag("p", line, class_="verdict") for line in head.verdict)
    return tag(
        "header",
        top,
        tag("h1", head.title),
        verdicts,
        facts(head.key_facts) if head.key_facts else None,
        links,
    )


def _section(section: Section, content: Html) -> Html:
    title = tag("h2", section.title, id=f"{section.key}-title")
    return tag("section", title, content, id=section.key, aria_labelledby=f"{section.key}-title")


def _with_code(text: str) -> list[Html | str]:
    """Text with what stands between backticks as code."""
    return [tag("code", part) if i % 2 else part for i, part in enumerate(text.split("`"))]


def _left_out(missing: Sequence[tuple[str, str]]) -> Html | None:
    if not missing:
        return None
    items = join(
        [tag("b", title), ": ", _with_code(how), "; " if i < len(missing) - 1 else "."]
        for i, (title, how) in enumerate(missing)
    )
    return tag("p", "Left out. ", items, class_="note", id="left-out")
