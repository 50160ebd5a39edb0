"""File listings of sources. Torch-free, so that specs can be checked without loading anything."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sslkit.plugin import DataError, split_of
from sslkit_sources.split_folders import advice, divided_folders, names_by_split


class Listing(NamedTuple):
    """The images of a split, in their order."""

    files: list[str]
    """Paths relative to the folder that they are read from."""
    labels: list[int] | None
    """Class of each image; None where images have none."""
    classes: tuple[str, ...]
    keys: list[str] | None = None
    """What an image is called in the fingerprint, whatever lies beside its folder. Default: `files`."""


class Where(NamedTuple):
    """Folders of images, and what counts as one."""

    roots: tuple[Path, ...]
    extensions: tuple[str, ...]
    without: tuple[Path, ...] = ()
    """Folders inside whose images are those of another split."""

    @property
    def base(self) -> Path:
        """The folder that files are named from: the one root, or what all of them lie in."""
        if len(self.roots) == 1:
            return self.roots[0]
        return Path(os.path.commonpath([root.absolute() for root in self.roots]))

    def prefix(self, root: Path) -> str:
        """What comes before the path below `root` of a file that is named from `base`."""
        if len(self.roots) == 1:
            return ""
        below = str(root.absolute().relative_to(self.base))
        return "" if below == "." else below + os.sep


def folder_problem(root: Path, extensions: tuple[str, ...]) -> str | None:
    """What is wrong with `root` as a folder of images; None where at least one image was found."""
    expected = "expected a folder of class folders with images, or of images"
    if not root.exists():
        return f"{root}: no such folder{from_here(root)}; {expected}"
    if not root.is_dir():
        return f"{root}: is a file; {expected}"
    if next(images_below(root, extensions), None) is None:
        return (
            f"{root}: holds no image ({', '.join(extensions)}); {expected}. Check the path or `extensions`."
        )
    return None


def split_problem(root: Path) -> str | None:
    """Why the folders of `root` are no classes, as their names alone tell."""
    folders, links, _ = _listed(root)
    return _split_message(root, divided_folders(sorted([*folders, *links])))


def overlap_problem(train: Iterable[Path], test: Iterable[Path]) -> str | None:
    """Why images of the folders `test` would be trained on; None where no folder is in both splits.

    A test folder inside a training folder is no problem: its images are left out of training.
    """
    inside = {root: root.resolve() for root in train}
    for folder in test:
        for root, place in inside.items():
            if place.is_relative_to(folder.resolve()):
                same = "is" if place == folder.resolve() else "holds"
                return (
                    f"{folder}: {same} the folder of the training images, {root}, so images that were trained on would "
                    "be tested; name a folder of other images, or leave the test split out"
                )
    return None


def nested_problem(roots: Sequence[Path]) -> str | None:
    """Which of the folders of one split lies in another of them, so that its images would count twice; or None."""
    places = {root: root.resolve() for root in roots}
    for place, root in enumerate(roots):
        for other in [*roots[:place], *roots[place + 1 :]]:
            if places[root].is_relative_to(places[other]):
                return f"{root}: lies in {other}, which is named too, so its images would count twice; name one of them"
    return None


def require_apart(where: Where) -> None:
    """Pass where no root lies in another. Raises DataError otherwise."""
    _require(nested_problem(where.roots))


def class_names(where: Where) -> tuple[str, ...]:
    """Top-level folders of the roots that hold an image at any depth, sorted; empty for flat folders.

    Raises:
        DataError: a folder is missing or empty.
    """
    names = set[str]()
    for root in where.roots:
        _require(folder_problem(root, where.extensions))
        folders, links, _ = _listed(root)
        links = [name for name in links if not _holds(root / name, root)]
        for name in {*folders, *links} - names:
            images = _kept(
                where, root, (f"{name}{os.sep}{path}" for path in images_below(root / name, where.extensions))
            )
            if next(images, None):
                names.add(name)
    return tuple(sorted(names))


def list_folder(where: Where, classes: tuple[str, ...] = ()) -> Listing:
    """All images below the roots, sorted by path. `classes` fixes the labels; by default they are the folders' own.

    Images of a root without class folders have no labels, and then none have.

    Raises:
        DataError: a folder is missing or empty, mixes loose images with class folders, holds splits in
            place of classes, or has a class that is not among `classes`.
    """
    every, owners, keys = list[str](), list[str | None](), list[str]()
    for position, root in enumerate(where.roots):
        files = _sorted_images(where, root)
        its = [path.partition(os.sep)[0] if os.sep in path else None for path in files]
        _require_own_images(root, {owner for owner in its if owner is not None}, where.extensions)
        _check_layout(root, files, its)
        prefix = where.prefix(root)
        every += [prefix + path for path in files] if prefix else files
        owners += its
        keys += [f"{position}/{path}" for path in files] if len(where.roots) > 1 else []
    return _labeled(str(where.base), every, owners, classes, keys or None)


def list_named(root: Path, files: list[str], classes: tuple[str, ...] = ()) -> Listing:
    """The images `files` below `root`, sorted as in `list_folder`, with the labels of their class folders.

    Raises:
        DataError: as `list_folder`.
    """
    owners = [path.partition(os.sep)[0] if os.sep in path else None for path in files]
    _check_layout(root, files, owners)
    return _labeled(str(root), files, owners, classes, None)


def sort_key(path: str) -> str:
    """By what images are sorted: folder by folder."""
    return path.replace(os.sep, "\0")


def _labeled(
    where: str,
    files: list[str],
    owners: Sequence[str | None],
    classes: tuple[str, ...],
    keys: list[str] | None,
) -> Listing:
    """`files` with their class folders as labels, where all have one."""
    if None in owners:
        return Listing(files, None, (), keys)
    named = {owner for owner in owners if owner is not None}
    classes = classes or tuple(sorted(named))
    unknown = sorted(named - set(classes))
    if unknown:
        raise DataError(
            f"{where}: class {unknown[0]!r} is not a class of the training images: {some(classes)}"
        )
    index = {name: i for i, name in enumerate(classes)}
    return Listing(files, [index[owner] for owner in owners if owner is not None], classes, keys)


def _sorted_images(where: Where, root: Path) -> list[str]:
    """Path below `root` of its images that are of this split."""
    _require(folder_problem(root, where.extensions))
    images = _kept(where, root, images_below(root, where.extensions))
    files = sorted(images, key=sort_key)
    if not files:
        raise DataError(
            f"{root}: holds no image beside those of the test split ({some(map(str, where.without))})"
        )
    return files


def _kept(where: Where, root: Path, files: Iterable[str]) -> Iterator[str]:
    """Those of `files` below `root` that lie in no folder of another split."""
    place = root.resolve()
    others = [folder.resolve() for folder in where.without]
    prefixes = tuple(f"{other.relative_to(place)}{os.sep}" for other in others if place in other.parents)
    return (path for path in files if not path.startswith(prefixes)) if prefixes else iter(files)


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


def _check_layout(root: Path, files: list[str], owners: list[str | None]) -> None:
    """Pass where `root` has class folders only, or no folders. Raises DataError otherwise."""
    folders = dict.fromkeys(os.path.dirname(path) for path in files)  # noqa: PTH120 -- a million paths
    divided = divided_folders(folder for folder in folders if folder)
    named = sorted({owner for owner in owners if owner is not None})
    if not divided and named and None not in owners and all(map(split_of, named)):
        divided = {"": names_by_split(named)}
    _require(_split_message(root, divided))
    if named and None in owners:
        loose = files[owners.index(None)]
        raise DataError(
            f"{root}: mixes loose images ({loose!r}, {owners.count(None)} in all) with class folders "
            f"({some(named)}); move the loose ones, or name a folder that has only one kind"
        )


def _split_message(root: Path, divided: Mapping[str, Mapping[str, Sequence[str]]]) -> str | None:
    """What to write where folders below `root` hold splits; None where none does."""
    if not divided:
        return None
    first, places = next(iter(divided)), dict[str, list[str]]()
    for folder, splits in divided.items():
        for split, names in splits.items():
            places.setdefault(split, []).extend(str(root / folder / name) for name in names)
    names = sorted(name for each in divided[first].values() for name in each)
    others = f", as are those of {len(divided) - 1} more folders" if len(divided) > 1 else ""
    return (
        f"{root / first}: its folders are splits ({', '.join(names)}), not classes{others}; {advice(places, 'root')}. "
        "Where they are classes, rename them, as splits are known by name"
    )


def from_here(path: Path) -> str:
    """Where a relative path was looked for, in brackets."""
    return "" if path.is_absolute() else f" (looked from {Path.cwd()})"


def some(names: Iterable[str], most: int = 8) -> str:
    """The first of `names`, and how many more there are."""
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
