"""Marks the cells of tables that hold a sentence, so that the style sheet keeps them wide enough to read on a phone."""

from __future__ import annotations

import html
import re
from typing import Any

WORDY = 40
"""Characters from which on a cell needs room; numbers, names and short phrases have fewer."""

_CELL = re.compile(r"<td>(.*?)</td>", re.DOTALL)
_TAG = re.compile(r"<[^>]+>")


def on_page_content(content: str, **_: Any) -> str:
    """What mkdocs calls with the HTML of every page: `content` with the class `words` on such cells."""
    return _CELL.sub(_marked, content)


def _marked(cell: re.Match[str]) -> str:
    text = html.unescape(_TAG.sub("", cell[1]))
    return f'<td class="words">{cell[1]}</td>' if len(text) > WORDY else cell[0]
