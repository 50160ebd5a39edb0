"""The tries that were made, a JSON line each, so that a count goes on where it was left."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, final

ROOT = Path(__file__).resolve().parents[2]
TREES = ("sslkit", "plugins")
"""What a try is of."""


class Try(NamedTuple):
    """One line."""

    commit: str
    drill: str
    seed: int
    index: int
    verdict: str
    reason: str
    seconds: float


@final
class Journal:
    """The tries in a file, and those of this process."""

    def __init__(self, path: Path | None, commit: str) -> None:
        """`path`: None keeps tries in memory. Tries of another `commit` do not count."""
        self._path, self.commit = path, commit
        self.tries: dict[tuple[str, int, int], Try] = {}
        for one in _read(path) if path else ():
            if one.commit == commit:
                self.tries[one.drill, one.seed, one.index] = one

    def add(self, one: Try) -> None:
        """Note a try, at once."""
        self.tries[one.drill, one.seed, one.index] = one
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(one._asdict()) + "\n")

    def has(self, drill: str, seed: int, index: int) -> bool:
        """Whether the try was made."""
        return (drill, seed, index) in self.tries


def _read(path: Path) -> Iterator[Try]:
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield Try(**json.loads(line))
        except (ValueError, TypeError):  # cut short
            continue


def commit() -> str:
    """The last commit that changed what is drilled, with `+changes` where something of it is not committed."""
    words = [
        ["git", "log", "-1", "--format=%h", "--", *TREES],
        ["git", "status", "--porcelain", "--", *TREES],
    ]
    try:
        head, status = (
            subprocess.run(one, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
            for one in words
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+changes" if status else "")
