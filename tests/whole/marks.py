"""A harmless function that stands for code: nothing that a stranger wrote may get it called, or its module imported."""

from __future__ import annotations

from pathlib import Path


def leave(path: str = "mark") -> None:
    """Leave a file."""
    Path(path).touch()
