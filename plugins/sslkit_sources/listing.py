"""File listings of sources. Torch-free, so that specs can be checked without loading anything."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sslkit.plugin import DataError, split_of
from sslkit_sources.split_folders import advice, divided_folders, names_by_split
from sslkit_sources.walk import images_below, names_in


class Listing(NamedTuple):
    """The images of a split, in their order."""

    files: list[str]
    """Paths relative to the folder that they are read from."""
    labels: list[int] | None
    """Class of each image; None where images have none."""
    classes: tuple[str, ...]
    keys: list[str] | None = None
    """What an image is called in the fingerprint, whatever lies beside its folder. Default: `files`."""
    notes: tuple[str, ...] = ()
    """What of the folders is not read."""


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
    folders, links, *_ = names_in(root)
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
        folders, links, *_ = names_in(root)
        links = [name for name in links if not _holds(root / name, root)]
        for name in {*folders, *links} - names:
            images = (f"{name}{os.sep}{path}" for path in images_below(root / name, where.extensions))
            if any(_of_split(where, root, [path]) for path in images):
                names.add(name)
    return tuple(sorted(names))


def list_folder(where: Where, classes: tuple[str, ...] = ()) -> Listing:
    """All images below the roots, sorted by path. `classes` fixes the labels; by default they are the folders' own.

    Images of a root without class folders have no labels, and then none have.

    Raises:
        DataError: a folder is missing or empty, mixes loose images with class folders, holds splits in
            place of classes, or has a class that is not among `classes`.
    """
    from sslkit_sources.kept_walk import image_files
    from sslkit_sources.left_out_files import left_out

    every, owners, keys, notes = list[str](), list[str | None](), list[str](), list[str]()
    for position, root in enumerate(where.roots):
        _require(folder_problem(root, where.extensions))
        below = image_files(root, where.extensions)
        folders = _of_split(where, root, below.images)
        files = sorted((prefix + name for prefix in folders for name in below.images[prefix]), key=sort_key)
        _require_others(where, root, files)
        its = [path.partition(os.sep)[0] if os.sep in path else None for path in files]
        classes_here = {owner for owner in its if owner is not None}
        _require_own_images(root, classes_here, where.extensions)
        _check_layout(root, folders, files, its)
        notes += left_out(root, below, classes_here, where.without)
        prefix = where.prefix(root)
        every += [prefix + path for path in files] if prefix else files
        owners += its
        keys += [f"{position}/{path}" for path in files] if len(where.roots) > 1 else []
    listed = _labeled(str(where.base), every, owners, classes, keys or None)
    return listed._replace(notes=tuple(notes))


def list_named(root: Path, files: list[str], classes: tuple[str, ...] = ()) -> Listing:
    """The images `files` below `root`, sorted as in `list_folder`, with the labels of their class folders.

    Raises:
        DataError: as `list_folder`.
    """
    owners = [path.partition(os.sep)[0] if os.sep in path else None for path in files]
    folders = dict.fromkeys(os.path.dirname(path) + os.sep for path in files)  # noqa: PTH120 -- a million paths
    _check_layout(root, list(folders), files, owners)
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


def _require_others(where: Where, root: Path, files: Sequence[str]) -> None:
    """Pass where images lie beside those of the test split. Raises DataError otherwise."""
    if not files:
        raise DataError(
            f"{root}: holds no image beside those of the test split ({some(map(str, where.without))})"
        )


def _of_split(where: Where, root: Path, folders: Iterable[str]) -> list[str]:
    """Those of `folders` below `root` that lie in no folder of another split, sorted."""
    place = root.resolve()
    others = [folder.resolve() for folder in where.without]
    prefixes = tuple(f"{other.relative_to(place)}{os.sep}" for other in others if place in other.parents)
    return sorted((folder for folder in folders if not folder.startswith(prefixes)), key=sort_key)


def _require(problem: str | None) -> None:
    if problem:
        raise DataError(problem)


def _require_own_images(root: Path, owners: set[str], extensions: tuple[str, ...]) -> None:
    """Pass where every class folder that is a link has images that no other class folder has."""
    for name in sorted(set(names_in(root).links) - owners):
        if not _holds(root / name, root) and next(images_below(root / name, extensions), None):
            raise DataError(
                f"{root / name}: is a link to {(root / name).resolve()}, whose images are those of another class "
                "folder already; remove the link"
            )


def _holds(link: Path, folder: Path) -> bool:
    """Whether `link` leads to `folder` or to one around it, and so goes in a circle."""
    return folder.resolve().is_relative_to(link.resolve())


def _check_layout(
    root: Path, folders: Sequence[str], files: Sequence[str], owners: Sequence[str | None]
) -> None:
    """Pass where `root` has class folders only, or no folders. Raises DataError otherwise."""
    divided = divided_folders(folder for folder in folders if folder.strip(os.sep))
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
