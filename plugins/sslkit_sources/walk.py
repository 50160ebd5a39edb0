"""Names of files below a folder, each folder once. Torch-free."""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from sslkit.plugin import DataError


class Names(NamedTuple):
    """What a folder holds; names with a leading dot are skipped."""

    folders: list[str]
    links: list[str]
    """To folders."""
    files: list[str]
    plain: bool
    """Whether there are no links, to files neither: what a link leads to changes without its folder."""


Read = Callable[[str, os.stat_result], Names]
"""(path below the root, its state) -> names. Raises DataError."""


def images_below(root: Path, extensions: tuple[str, ...]) -> Iterator[str]:
    """Path relative to `root` of each image, in no set order.

    Links are followed, as `walk_once` says; names with a leading dot are skipped.

    Raises:
        DataError: a folder cannot be read.
    """
    for prefix, names in walk_once(root):
        for name in names:
            if name.lower().endswith(extensions):
                yield prefix + name


def walk_once(root: Path, read: Read | None = None) -> Iterator[tuple[str, list[str]]]:
    """Path below `root` of each folder, with a separator at its end, and the names of its files.

    Links to folders are followed, but every folder is listed once, however many links lead to it: under its own name
    where it lies below `root`, or else under that of the first link in order. Names with a leading dot are skipped.

    Args:
        root: where to begin.
        read: tells the names in a folder. Default: they are listed.

    Raises:
        DataError: a folder cannot be read.
    """
    listed = set[tuple[int, int]]()
    folders, links = [""], list[str]()
    while folders or links:
        prefix = folders.pop() if folders else heapq.heappop(links)  # what has a name without links keeps it
        folder = root / prefix
        try:
            stat = folder.stat()
        except OSError as error:
            raise DataError(f"{folder}: cannot be listed: {error.strerror}") from None
        if (identity := (stat.st_dev, stat.st_ino)) in listed:
            continue
        listed.add(identity)
        names = read(prefix, stat) if read else names_in(folder)
        folders += [f"{prefix}{name}{os.sep}" for name in names.folders]
        for name in names.links:
            heapq.heappush(links, f"{prefix}{name}{os.sep}")
        yield prefix, names.files


def names_in(folder: Path) -> Names:
    """What `folder` holds. Raises DataError where it cannot be read."""
    folders, links, files, plain = list[str](), list[str](), list[str](), True
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                is_link = entry.is_symlink()
                plain &= not is_link
                if not _is_folder(entry):
                    files.append(entry.name)
                else:
                    (links if is_link else folders).append(entry.name)
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be listed: {error.strerror}") from None
    return Names(folders, links, files, plain)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # as of a link to itself
        return False
