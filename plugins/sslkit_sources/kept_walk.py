"""Image files below a folder, whose names are kept for the next time."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sslkit.interfaces import FolderNames, KeptFolders
from sslkit_sources.walk import Names, Read, names_in, walk_once


class ImageFiles(NamedTuple):
    """The files below a folder."""

    images: dict[str, list[str]]
    """Path of each folder, with a separator at its end, that has images -> their names."""
    others: Counter[str]
    """How many files of each other ending there are."""
    tops: set[str]
    """Folders at the top that hold other files."""


def image_files(root: Path, extensions: tuple[str, ...]) -> ImageFiles:
    """All files below `root`, as `walk_once` finds them. Raises DataError where a folder cannot be read."""
    below = ImageFiles({}, Counter(), set())
    for prefix, names in walk_kept(root):
        images = [name for name in names if name.lower().endswith(extensions)]
        if images:
            below.images[prefix] = images
        if len(images) < len(names):
            others = set(names).difference(images)
            below.others.update(Path(name).suffix.lower() or "no ending" for name in others)
            if prefix:
                below.tops.add(prefix.partition(os.sep)[0])
    return below


def walk_kept(root: Path) -> Iterator[tuple[str, list[str]]]:
    """As `walk_once`; folders that did not change since the last time are not listed again."""
    kept = KeptFolders(root)
    yield from walk_once(root, _reader(root, kept))
    kept.write()


def _reader(root: Path, kept: KeptFolders) -> Read:
    def read(prefix: str, stat: os.stat_result) -> Names:
        listed = list[Names]()

        def plain() -> FolderNames | None:
            listed.append(names_in(root / prefix))
            folders, _, files, is_plain = listed[0]
            return FolderNames(folders, files) if is_plain else None

        names = kept.names(prefix, stat, plain)
        return listed[0] if names is None else Names(names.folders, [], names.files, plain=True)

    return read
