"""Files that are whole or absent: temporary file, fsync, rename."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

SUMMARY = "summary.json"
"""What a run writes at its end."""


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replace the file at `path` by what `write` puts into it; a crash leaves the old one or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk names no file
        raise
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """`content`, whole or absent."""
    write_whole(path, lambda file: file.write(content))


def write_text(path: Path, text: str) -> None:
    """`text` in UTF-8, whole or absent."""
    write_bytes(path, text.encode())


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """`data` as readable JSON, whole or absent."""
    write_text(path, json.dumps(data, indent=2, sort_keys=False) + "\n")


def read_summary(run_dir: Path) -> dict[str, Any]:
    """What `summary.json` holds; nothing where it is missing or damaged, as training then makes it again."""
    try:
        found = json.loads((run_dir / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def sync_file(path: Path) -> None:
    """Bring a written file to the disk. Windows does that only for one that is open for writing."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Bring renames inside a folder to the disk, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
