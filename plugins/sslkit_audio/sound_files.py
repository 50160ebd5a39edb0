"""The sound files of a split: below a folder, or by a listing. Torch-free."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, final

from sslkit.plugin import DataError, ListedFiles, ListingColumns, ListingFile, SplitSpec, listed_files

ENDINGS = frozenset(
    {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64", ".rf64"}
)
"""Ends of the names of files that are read, of any case."""


class Places(NamedTuple):
    """Where sound files are, and how they are divided, as the fields of `audio_folder` say."""

    root: Path
    test: Path | None
    split: SplitSpec | None
    listing: Path | None
    test_listing: Path | None
    columns: ListingColumns


@final
class ClassFolders:
    """The folders right below the root are classes, where every file lies in one."""

    folders: bool = False

    def labels(
        self, root: Path, files: Sequence[str], classes: tuple[str, ...]
    ) -> tuple[list[int] | None, tuple[str, ...]]:
        """Of each file by its first folder; none where no file lies in one. Raises DataError where only some do."""
        owners = [name.partition(os.sep)[0] if os.sep in name else "" for name in files]
        if not any(owners):
            return None, ()
        if "" in owners:
            loose = files[owners.index("")]
            raise DataError(
                f"{root}: {loose!r} lies beside class folders; move it into one, or list files in `listing`"
            )
        names = classes or tuple(sorted(set(owners)))
        if unknown := sorted(set(owners) - set(names)):
            raise DataError(f"{root}: the folder {unknown[0]!r} is no class of the training files; rename it")
        return [names.index(owner) for owner in owners], names

    def together(
        self, root: Path, files: Sequence[str], labels: Sequence[int] | None, by: str
    ) -> Sequence[str] | None:
        """The folder of each file; folders tell of no groups."""
        return None if by == "group" else [name.rpartition(os.sep)[0] for name in files]


RULES = ClassFolders()


def files_of(places: Places, split: str) -> ListedFiles | None:
    """The files of `split`; None where there is no such split.

    Raises:
        DataError: there are none, or folders and listings do not say what they have to.
    """
    root = places.root.expanduser()
    test = places.test.expanduser() if places.test is not None else None
    if places.listing is not None:
        train_listing = ListingFile(places.listing.expanduser(), root)
        test_listing = None
        if places.test_listing is not None:
            test_listing = ListingFile(places.test_listing.expanduser(), test or root)
        return listed_files(train_listing, test_listing, places.columns, places.split, split, RULES)
    train = _below(root, ())
    if split != "train" and test is not None:
        return _below(test, train.classes)
    if places.split is None:
        return train if split == "train" else None
    return _drawn(train, places.split, split)


def _below(root: Path, classes: tuple[str, ...]) -> ListedFiles:
    paths = [
        path.relative_to(root)
        for path in root.rglob("*")
        if path.suffix.lower() in ENDINGS and path.is_file()
    ]
    shown = [path for path in paths if not any(part.startswith(".") for part in path.parts)]
    names = [str(path) for path in sorted(shown, key=lambda path: path.parts)]
    if not names:
        ends = ", ".join(sorted(ENDINGS))
        raise DataError(f"{root}: holds no sound files ({ends}); check the path")
    labels, classes = RULES.labels(root, names, classes)
    return ListedFiles(root, names, labels, classes)


def _drawn(files: ListedFiles, draw: SplitSpec, split: str) -> ListedFiles:
    names = (
        files.files if draw.by == "image" else RULES.together(files.root, files.files, files.labels, draw.by)
    )
    if names is None:
        raise DataError(
            f"{files.root}: `split` goes by group, and folders tell of none; give a `listing` with groups"
        )
    keys = [name.replace(os.sep, "/") for name in names]
    places = draw.places(keys, split, str(files.root), labels=files.labels, classes=files.classes)
    labels = None if files.labels is None else [files.labels[i] for i in places]
    return files._replace(files=[files.files[i] for i in places], labels=labels)
