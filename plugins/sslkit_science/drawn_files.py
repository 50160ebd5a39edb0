"""Files and images of the splits: drawn from the files at one place or the images of one, or named by a listing."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, final

from sslkit.plugin import DataError, ListedFiles, SplitSpec
from sslkit_science.image_files import Files, class_folders
from sslkit_science.reader import Reader

SPLITS = ("train", "test")
Part = Callable[[Sequence[str]], Sequence[bool]]
"""Which images of a file are of a split, by their places in it."""


@final
class FileRules(NamedTuple):
    """What folders, and the files themselves, say where a listing does not."""

    reader: Reader
    label_folders: bool
    folders: bool
    """Whether a file may be a folder, as a Zarr store is."""

    def labels(
        self, root: Path, files: Sequence[str], classes: tuple[str, ...]
    ) -> tuple[list[int] | None, tuple[str, ...]]:
        """By class folders."""
        return class_folders(root, files, classes or None) if self.label_folders else (None, ())

    def together(
        self, root: Path, files: Sequence[str], labels: Sequence[int] | None, by: str
    ) -> Sequence[str] | None:
        """By folders right below the class folder, or by what files tell of their group."""
        if by == "group" and not self.reader.together:
            return None
        classes = None if labels is None else tuple(labels)
        return together(Files(root, tuple(files), classes, (), 0), by, self.reader)


def files_of_listing(listed: ListedFiles) -> Files:
    """The files that a listing names."""
    labels = None if listed.labels is None else tuple(listed.labels)
    return Files(
        listed.root,
        tuple(listed.files),
        labels,
        listed.classes,
        0,
        listed.attributes,
        listed.attribute_values,
    )


def drawn_files(
    files: Files, draw: SplitSpec, split: str, reader: Reader
) -> dict[str, tuple[Files, Part | None]]:
    """The files of "train" and "test"; of a single file, which of its images.

    What is odd about it is told where `split` is "train".

    Raises:
        DataError: a split would be empty, or files have no folders or groups to stay together in.
    """
    if len(files.names) == 1 and draw.by == "image":
        return {side: (files, partial(_drawn, files, draw, side)) for side in SPLITS}
    names, where, notes = together(files, draw.by, reader), str(files.root), list[str]()
    if draw.by == "image" and reader.together:
        notes = [f"data.split: `by: image` parts {reader.together}; `by: group` keeps them together"]
    drawn = draw.places(names, split, where, labels=files.labels, classes=files.classes, notes=notes)
    rest = sorted(set(range(len(names))) - set(drawn))
    return {side: (_part(files, drawn if side == split else rest), None) for side in SPLITS}


def together(files: Files, by: str, reader: Reader) -> list[str]:
    """What each file stays together with: nothing, those of one folder below its class, or those of one group.

    Raises:
        DataError: some lie in no folder, or tell of no group.
    """
    names = [name.replace(os.sep, "/") for name in files.names]
    if by == "image":
        return names
    if by == "group":
        return [reader.group(files.path(file)) for file in range(len(names))]
    depth = 0 if files.labels is None else 1
    parts = [name.split("/") for name in names]
    loose = [name for name, folders in zip(names, parts, strict=True) if len(folders) < depth + 2]
    if loose:
        inside = " inside class folders" if depth else ""
        other = ", or `label_folders: false` where these folders are no classes" if depth else ""
        raise DataError(
            f"{files.root}: `split` goes by folder, and {len(loose):,} of {len(names):,} files lie in none that "
            f"could stay together, such as {loose[0]!r}; expected folders of them{inside}. Write `by: image`{other}"
        )
    return [folders[depth] for folders in parts]


def _drawn(files: Files, draw: SplitSpec, split: str, places: Sequence[str]) -> list[bool]:
    return [test == (split == "test") for test in draw.divided(places, str(files.path(0)))]


def _part(files: Files, places: Sequence[int]) -> Files:
    labels = None if files.labels is None else tuple(files.labels[place] for place in places)
    return files._replace(names=tuple(files.names[place] for place in places), labels=labels)
