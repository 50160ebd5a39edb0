"""The summary of a run, written at its end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sslkit.errors import CheckpointError
from sslkit.runs.file_shapes import SUMMARY_FILE
from sslkit.runs.seal import read_sealed, sealed
from sslkit.runtime.atomic_files import write_json

SUMMARY = "summary.json"
Summary = dict[str, Any]
"""What `summary.json` holds."""


def write_summary(run_dir: Path, summary: Mapping[str, object]) -> None:
    """Write `summary.json`. Raises StorageError where the disk does not take it."""
    write_json(run_dir / SUMMARY, sealed(summary))


def read_summary(run_dir: Path) -> Summary:
    """What `summary.json` holds; nothing where it is missing or damaged, as training then makes it again.

    Raises:
        StorageError: it cannot be read.
    """
    try:
        return require_summary(run_dir)
    except CheckpointError:
        return {}


def require_summary(run_dir: Path) -> Summary:
    """As `read_summary`, where damage matters.

    Raises:
        CheckpointError: it is damaged.
        StorageError: it cannot be read.
    """
    try:
        return read_sealed(run_dir / SUMMARY, SUMMARY_FILE)
    except FileNotFoundError:
        return {}
