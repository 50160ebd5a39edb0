"""File listings of sources. Torch-free, so that specs can be checked without loading anything."""

from __future__ import annotations

import fnmatch
import glob
import heapq
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sslkit.plugin import DataError

SPLITS = frozenset({"train", "training", "test", "val", "valid", "validation"})
CIFAR10_BATCHES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}


class Listing(NamedTuple):
    """The images of a folder, sorted by path."""

    files: list[str]
    """Paths relative to the folder."""
    labels: list[int] | None
    """Class of each image; None in a flat folder."""
    classes: tuple[str, ...]


def folder_problem(root: Path, extensions: tuple[str, ...]) -> str | None:
    """What is wrong with `root` as a folder of images; None where at least one image was found."""
    expected = "expected a folder of class folders with images, or of images"
    if not root.exists():
        return f"{root}: no such folder{_from_here(root)}; {expected}"
    if not root.is_dir():
        return f"{root}: is a file; {expected}"
    if next(images_below(root, extensions), None) is None:
        return (
            f"{root}: holds no image ({', '.join(extensions)}); {expected}. Check the path or `extensions`."
        )
    return None


def class_names(root: Path, extensions: tuple[str, ...]) -> tuple[str, ...]:
    """Top-level folders of `root` that hold an image at any depth, sorted; empty for a flat folder.

    Raises:
        DataError: the folder is missing or empty.
    """
    _require(folder_problem(root, extensions))
    folders, links, _ = _listed(root)
    links = [name for name in links if not _holds(root / name, root)]
    return tuple(
        name for name in sorted([*folders, *links]) if next(images_below(root / name, extensions), None)
    )


def list_folder(root: Path, extensions: tuple[str, ...], classes: tuple[str, ...] = ()) -> Listing:
    """All images below `root`. `classes` fixes the labels; by default they are the folder's own.

    Raises:
        DataError: the folder is missing or empty, mixes loose images with class folders, holds splits in
            place of classes, or has a class that is not among `classes`.
    """
    _require(folder_problem(root, extensions))
    files = sorted(images_below(root, extensions), key=lambda path: path.replace(os.sep, "\0"))
    owners = [path.partition(os.sep)[0] if os.sep in path else None for path in files]
    _require_own_images(root, {owner for owner in owners if owner is not None}, extensions)
    named = _check_layout(root, files, owners)
    classes = (classes or tuple(sorted(named))) if named else ()
    unknown = sorted(named - set(classes))
    if unknown:
        raise DataError(
            f"{root}: class {unknown[0]!r} is not a class of the training images: {_some(classes)}"
        )
    index = {name: i for i, name in enumerate(classes)}
    labels = [index[owner] for owner in owners if owner is not None] if named else None
    return Listing(files, labels, classes)


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


def walk_once(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Path below `root` of each folder, with a separator at its end, and the names of its files.

    Links to folders are followed, but every folder is listed once, however many links lead to it: under its own name
    where it lies below `root`, or else under that of the first link in order. Names with a leading dot are skipped.

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
        below, linked, files = _listed(folder)
        folders += [f"{prefix}{name}{os.sep}" for name in below]
        for name in linked:
            heapq.heappush(links, f"{prefix}{name}{os.sep}")
        yield prefix, files


def parquet_problem(files: Path) -> str | None:
    """What is wrong with `files` as the parquet files of one split; None where there is nothing."""
    paths = parquet_files(files)
    if not paths:
        return f"{files}: no such parquet file{_from_here(files)}; expected a file, a folder or a pattern"
    splits = {
        split for path in paths for split in SPLITS & set(path.stem.lower().replace("_", "-").split("-"))
    }
    if files.is_dir() and len(splits) > 1:
        named = _some(sorted(splits))
        return f"{files}: holds files of several splits ({named}); name one, as in {files}/*train*.parquet"
    return None


def parquet_files(files: Path) -> list[Path]:
    """The parquet files that a file, a folder (at any depth) or a pattern names, sorted."""
    if files.is_file():
        return [files]
    if files.is_dir():
        return sorted(files.rglob("*.parquet"))
    if "**" in files.parts:
        return sorted(path for path in _deep_matches(files) if path.is_file())
    matches = glob.glob(str(files))  # noqa: PTH207 -- Path.glob takes no absolute pattern
    return sorted(path for path in map(Path, matches) if path.is_file())


def _deep_matches(pattern: Path) -> Iterator[Path]:
    """What a pattern with `**` names, each folder entered once; `glob` would follow links in circles."""
    at = next(i for i, part in enumerate(pattern.parts) if glob.has_magic(part))
    base, rest = Path(*pattern.parts[:at]), pattern.parts[at:]
    if base.is_dir():
        for prefix, names in walk_once(base):
            below = Path(prefix).parts
            yield from (base / prefix / name for name in names if _fits([*below, name], rest))


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether the names of a path fit those of a pattern, where `**` stands for any number of folders."""
    places = _reached({0}, pattern)
    for part in parts:
        stay = {at for at in places if at < len(pattern) and pattern[at] == "**"}
        go = {at + 1 for at in places - stay if at < len(pattern) and fnmatch.fnmatchcase(part, pattern[at])}
        places = _reached(stay | go, pattern)
    return len(pattern) in places


def _reached(places: set[int], pattern: Sequence[str]) -> set[int]:
    """`places` in a pattern and those behind a `**` there, as it may stand for no folder."""
    for at, part in enumerate(pattern):
        if part == "**" and at in places:
            places.add(at + 1)
    return places


def cifar10_problem(root: Path, split: str) -> str | None:
    """What is missing of CIFAR-10's `split` below `root`; None where there is nothing."""
    if not root.is_dir():
        return f"{root}: no such folder{_from_here(root)}; expected the folder that holds CIFAR-10"
    batches = root / "cifar-10-batches-py"
    if batches.is_dir():
        missing = [name for name in CIFAR10_BATCHES[split] if not (batches / name).is_file()]
        return f"{batches}: lacks {', '.join(missing)}; unpack the archive again" if missing else None
    if cifar10_parquet(root, split):
        return None
    return (
        f"{root}: no CIFAR-10 {split} images; looked for cifar-10-batches-py/{CIFAR10_BATCHES[split][0]} "
        f"(the official archive's python version, unpacked) and for *{split}*.parquet there or a folder down"
    )


def cifar10_parquet(root: Path, split: str) -> list[Path]:
    """The parquet files of CIFAR-10's `split` in `root`, or else one folder down, in order."""
    return sorted(root.glob(f"*{split}*.parquet")) or sorted(root.glob(f"*/*{split}*.parquet"))


def _require(problem: str | None) -> None:
    if problem:
        raise DataError(problem)


def _require_own_images(root: Path, owners: set[str], extensions: tuple[str, ...]) -> None:
    """Pass where every class folder that is a link has images that no other class folder has."""
    for name in sorted(set(_listed(root)[1]) - owners):
        if not _holds(root / name, root) and next(images_below(root / name, extensions), None):
            raise DataError(
                f"{root / name}: is a link to {(root / name).resolve()}, whose images are those of another class "
                "folder already; remove the link"
            )


def _holds(link: Path, folder: Path) -> bool:
    """Whether `link` leads to `folder` or to one around it, and so goes in a circle."""
    return folder.resolve().is_relative_to(link.resolve())


def _check_layout(root: Path, files: list[str], owners: list[str | None]) -> set[str]:
    """The class folders; empty for a flat folder."""
    named = {owner for owner in owners if owner is not None}
    if named and None in owners:
        loose = files[owners.index(None)]
        raise DataError(
            f"{root}: mixes loose images ({loose!r}, {owners.count(None)} in all) with class folders "
            f"({_some(sorted(named))}); move the loose ones, or name a folder that has only one kind"
        )
    if named and named <= SPLITS:
        raise DataError(
            f"{root}: its folders are splits ({_some(sorted(named))}), not classes; name them one by one, "
            f"as in root: {root / min(named)}"
        )
    return named


def _from_here(path: Path) -> str:
    return "" if path.is_absolute() else f" (looked from {Path.cwd()})"


def _some(names: Iterable[str], most: int = 8) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")


def _listed(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """Folders, links to folders, and files of `folder`, by name; names with a leading dot are skipped."""
    folders, links, files = list[str](), list[str](), list[str]()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if not _is_folder(entry):
                    files.append(entry.name)
                else:
                    (links if entry.is_symlink() else folders).append(entry.name)
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be listed: {error.strerror}") from None
    return folders, links, files


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # as of a link to itself
        return False
