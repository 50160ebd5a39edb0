"""Atomic writes of a folder: filled under another name, synced, renamed."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from sslkit.runtime.atomic_files import remove_leftovers, storing, sync_folder, temporary_path


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A new folder to fill, which becomes `path` when the block ends; an error or a crash leaves nothing at `path`.

    Args:
        path: where nothing is, or an empty folder.

    Raises:
        StorageError: it could not be written.
    """
    temporary = temporary_path(path)
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path)
        temporary.mkdir()
        try:
            yield temporary
            _sync(temporary)
            if path.is_dir():
                path.rmdir()  # Windows renames onto nothing only
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        sync_folder(path.parent)


def _sync(folder: Path) -> None:
    """Bring all files in `folder` to the disk."""
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb+") as opened:  # some systems sync only what may be written
                os.fsync(opened.fileno())
    sync_folder(folder)
