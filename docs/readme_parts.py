"""Sections of README.md on pages of the site, so that what it says stands once.

`<!-- readme: Start -->` on a page is replaced by the text below README's heading `## Start`; with
README's title, by the text above its sections. Links to `docs/` become links of the site, and other files lose theirs.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

README = Path(__file__).resolve().parent.parent / "README.md"

_DIRECTIVE = re.compile(r"^<!-- readme: (.+) -->$", re.MULTILINE)
_SECTION = re.compile(r"^##? (.+)$", re.MULTILINE)
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)\s]+)\)")
_SOURCE = re.compile(r'\b(src|srcset)="docs/([^"]+)"')


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """What mkdocs calls for every page."""
    return insert(markdown, page.file.src_uri, README.read_text(encoding="utf-8"))


def insert(markdown: str, uri: str, readme: str) -> str:
    """`markdown` of the page at `uri` (relative to docs/) with the sections of `readme` that it asks for.

    Raises:
        LookupError: README has no such section; the message has those that there are.
    """
    parts = sections(readme)

    def section(directive: re.Match[str]) -> str:
        if directive[1] not in parts:
            raise LookupError(
                f"README has no section {directive[1]!r}, which {uri} shows; it has {', '.join(parts)}"
            )
        return relink(parts[directive[1]], uri)

    return _DIRECTIVE.sub(section, markdown)


def sections(readme: str) -> dict[str, str]:
    """Text below each heading of the first two levels, by heading."""
    code = [fence.span() for fence in _FENCE.finditer(readme)]
    headings = [
        heading
        for heading in _SECTION.finditer(readme)
        if not any(start < heading.start() < end for start, end in code)
    ]
    ends = [*(heading.start() for heading in headings[1:]), len(readme)]
    return {
        heading[1]: readme[heading.end() : end].strip() for heading, end in zip(headings, ends, strict=True)
    }


def relink(text: str, uri: str) -> str:
    """`text` of a file beside docs/, with links that hold on the page at `uri`."""
    start = posixpath.dirname(uri) or "."

    def link(match: re.Match[str]) -> str:
        picture, words, target = match.groups()
        inside = posixpath.normpath(target).removeprefix("docs/")
        if inside == posixpath.normpath(target):
            return words
        return f"{picture}[{words}]({posixpath.relpath(inside, start)})"

    return _SOURCE.sub(
        lambda match: f'{match[1]}="{posixpath.relpath(match[2], start)}"', _LINK.sub(link, text)
    )
