"""Test splits drawn from the files at one place, or from the images of one file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from itertools import compress

from sslkit.plugin import DataError, SplitSpec, SslkitWarning
from sslkit_science.image_files import Files
from sslkit_science.reader import Reader

SPLITS = ("train", "test")
Part = Callable[[Sequence[str]], Sequence[bool]]
"""Which images of a file are of a split, by their places in it."""


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
    are_test = draw.divided(_together(files, draw, reader), str(files.root))
    notes = list(draw.notes(are_test, files.labels, files.classes))
    if draw.by == "image" and reader.together:
        notes.append(f"data.split: `by: image` parts {reader.together}; `by: group` keeps them together")
    for note in notes if split == "train" else ():
        warnings.warn(note, SslkitWarning, stacklevel=2)
    return {side: (_part(files, [test == (side == "test") for test in are_test]), None) for side in SPLITS}


def _drawn(files: Files, draw: SplitSpec, split: str, places: Sequence[str]) -> list[bool]:
    return [test == (split == "test") for test in draw.divided(places, str(files.path(0)))]


def _part(files: Files, kept: Sequence[bool]) -> Files:
    labels = None if files.labels is None else tuple(compress(files.labels, kept))
    return files._replace(names=tuple(compress(files.names, kept)), labels=labels)


def _together(files: Files, draw: SplitSpec, reader: Reader) -> list[str]:
    """What each file stays together with: nothing, those of one folder below its class, or those of one group."""
    names = [name.replace(os.sep, "/") for name in files.names]
    if draw.by == "image":
        return names
    if draw.by == "group":
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
