"""Files below a folder, with the labels that folders give them. Torch-free."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sslkit.plugin import DataError, split_of


class Kind(NamedTuple):
    """Which files a source reads."""

    title: str
    """What they are called in messages."""
    extensions: tuple[str, ...]
    """Ends of their names, lower case; an empty one stands for names without an end."""
    library: str
    """What reads them."""
    folders: bool = False
    """Whether a folder may be one of them, as a Zarr store is."""


class Files(NamedTuple):
    """The files of a source, sorted by path."""

    root: Path
    names: tuple[str, ...]
    """Below `root`."""
    labels: tuple[int, ...] | None
    """Class of each; None where folders are no classes."""
    classes: tuple[str, ...]
    left_out: int
    """Files that are of another kind."""
    attributes: Mapping[str, Sequence[int]] = {}
    """Further labels by name, a number for each file; -1 where it is unknown."""
    attribute_values: Mapping[str, tuple[str, ...]] = {}
    """What the numbers of each stand for."""

    def path(self, file: int) -> Path:
        """Of the file at a place of `names`."""
        return self.root / self.names[file]


def root_problem(root: Path, kind: Kind) -> str | None:
    """What is wrong with `root` as a file or folder of `kind`; None where something is found."""
    if not root.exists():
        return f"{root}: no such file or folder; expected {kind.title} or a folder of them"
    if _is_one(root, kind) or root.is_file():
        return None
    if not any(wanted for _, wanted in _walk(root, kind)):
        ends = ", ".join(end or "no end" for end in kind.extensions)
        return f"{root}: holds no {kind.title} ({ends}). Check the path or `extensions`"
    return None


def list_files(root: Path, kind: Kind, label_folders: bool, classes: Sequence[str] | None = None) -> Files:
    """All files of `kind` at `root`, or below it.

    Args:
        root: a file, or a folder.
        kind: which files count.
        label_folders: whether the folders right below `root` are classes, where every file lies in one.
        classes: those of the training images, where these are others.

    Raises:
        DataError: there is no such file; folders that should be classes are splits, or unknown.
    """
    if problem := root_problem(root, kind):
        raise DataError(problem)
    if _is_one(root, kind) or root.is_file():
        return Files(root.parent, (root.name,), None, (), 0)
    listed = list(_walk(root, kind))
    names = sorted((name for name, wanted in listed if wanted), key=lambda name: Path(name).parts)
    left_out = sum(not wanted for _, wanted in listed)
    labels, named = class_folders(root, names, classes) if label_folders else (None, ())
    return Files(root, tuple(names), None if labels is None else tuple(labels), named, left_out)


def class_folders(
    root: Path, names: Sequence[str], classes: Sequence[str] | None = None
) -> tuple[list[int] | None, tuple[str, ...]]:
    """Class of each file by the folder right below `root` that it lies in; None where none lies in one.

    Raises:
        DataError: some lie in none; or folders are splits, or unknown.
    """
    owners = [name.partition(os.sep)[0] if os.sep in name else "" for name in names]
    if not any(owners):
        return None, ()
    named = _checked_classes(root, names, owners, classes)
    index = {name: i for i, name in enumerate(named)}
    return [index[owner] for owner in owners], named


def _checked_classes(
    root: Path, names: Sequence[str], owners: Sequence[str], classes: Sequence[str] | None
) -> tuple[str, ...]:
    here = sorted(set(owners))
    off = "or set `label_folders: false`"
    if "" in here:
        loose = names[owners.index("")]
        raise DataError(
            f"{root}: {loose!r} lies beside class folders ({', '.join(here[1:4])}, ...); move it, {off}"
        )
    if splits := [name for name in here if split_of(name)]:
        raise DataError(
            f"{root}: the folder {splits[0]!r} is a split, not a class; name it, as in root: {root / splits[0]}, {off}"
        )
    if unknown := sorted(set(here) - set(classes or here)):
        raise DataError(
            f"{root}: class {unknown[0]!r} is not a class of the training images; rename it, {off}"
        )
    return tuple(classes or here)


def _is_one(path: Path, kind: Kind) -> bool:
    return kind.folders and path.is_dir() and _fits(path.name, kind)


def _fits(name: str, kind: Kind) -> bool:
    lower = name.lower()
    return any(lower.endswith(end) if end else "." not in lower for end in kind.extensions)


def _walk(root: Path, kind: Kind) -> Iterator[tuple[str, bool]]:
    """Path below `root` of each file, and whether it is of `kind`; hidden ones are skipped, each folder seen once."""
    waiting, seen = [""], set[tuple[int, int]]()
    while waiting:
        prefix = waiting.pop()
        try:
            stat = (root / prefix).stat()
            if (identity := (stat.st_dev, stat.st_ino)) in seen:
                continue
            seen.add(identity)
            with os.scandir(root / prefix) as entries:
                there = sorted(
                    (entry for entry in entries if not entry.name.startswith(".")), key=lambda e: e.name
                )
        except OSError as error:
            raise DataError(f"{root / prefix}: cannot be listed: {error.strerror}") from None
        for entry in there:
            name, wanted = prefix + entry.name, _fits(entry.name, kind)
            if not entry.is_dir():
                yield name, wanted and not kind.folders
            elif kind.folders and wanted:
                yield name, True
            else:
                waiting.append(name + os.sep)
