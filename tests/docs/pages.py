"""Code blocks of the documentation."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from tests.conftest import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^\n]+) -->\n\n?)?"
    r"^```(?P<language>\w+)(?: title=\"(?P<title>[^\"\n]+)\")?\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """One fenced block."""

    page: Path
    line: int
    """Line of its first line of code, from 1."""
    language: str
    title: str | None
    """The file that it shows."""
    reason: str | None
    """Why it is not run."""
    text: str

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path, *languages: str) -> Iterator[Block]:
    """The blocks of `page` in one of `languages`, in order."""
    source = page.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(source):
        if match["language"] in languages:
            line = source.count("\n", 0, match.start("text")) + 1
            yield Block(page, line, match["language"], match["title"], match["reason"], match["text"])


def all_blocks(*languages: str) -> list[Block]:
    """The blocks of every page."""
    return [block for page in PAGES for block in blocks(page, *languages)]


def hooks(name: str = "hooks") -> ModuleType:
    """docs/NAME.py, as mkdocs loads it."""
    spec = importlib.util.spec_from_file_location(f"sslkit_docs_{name}", ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
