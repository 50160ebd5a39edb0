"""Videos below a folder, by class folders, with test splits drawn or named. Torch-free."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, final

from sslkit.plugin import DataError, ListedFiles, SplitSpec, split_of


class Kind(NamedTuple):
    """Which files or folders are videos."""

    title: str
    """What they are called in messages."""
    endings: tuple[str, ...]
    """Of files, lower case."""
    folders: bool
    """Whether the folders of such files are the videos."""

    def fits(self, name: str) -> bool:
        """Whether a file of this name counts."""
        return name.lower().endswith(self.endings) and not name.startswith(".")


def videos_below(root: Path, kind: Kind) -> list[str]:
    """Paths below `root`, sorted folder by folder.

    Raises:
        DataError: a folder cannot be listed, or there is no video.
    """
    if root.is_file() and not kind.folders:
        return [root.name]
    names = list[str]()
    for folder, inner, files in os.walk(root, followlinks=True, onerror=_refuse):
        inner[:] = [name for name in inner if not name.startswith(".") and not _circle(Path(folder, name))]
        fitting = [name for name in files if kind.fits(name)]
        if kind.folders:
            names += [os.path.relpath(folder, root)] if fitting and Path(folder) != root else []
        else:
            names += [os.path.relpath(f"{folder}{os.sep}{name}", root) for name in fitting]
    if not names:
        raise DataError(
            f"{root}: holds no {kind.title} ({', '.join(kind.endings)}); check the path or `extensions`"
        )
    return sorted(names, key=lambda name: Path(name).parts)


@final
class FolderClasses(NamedTuple):
    """What folders say of the videos in them."""

    label_folders: bool
    folders: bool
    """Whether a video is a folder."""

    def labels(
        self, root: Path, files: Sequence[str], classes: tuple[str, ...]
    ) -> tuple[list[int] | None, tuple[str, ...]]:
        """Class of each by the folder right below `root`; none where no file lies in one.

        Raises:
            DataError: some lie in none, folders are splits, or a class is none of `classes`.
        """
        owners = [name.partition(os.sep)[0] if os.sep in name else "" for name in files]
        if not self.label_folders or not any(owners):
            return None, ()
        here, off = sorted(set(owners)), "or set `label_folders: false`"
        if "" in here:
            loose = files[owners.index("")]
            raise DataError(
                f"{root}: {loose!r} lies beside class folders ({', '.join(here[1:4])}); move it, {off}"
            )
        if splits := [name for name in here if split_of(name)]:
            raise DataError(
                f"{root}: the folder {splits[0]!r} is a split, not a class; name it, as in root: "
                f"{root / splits[0]}, {off}"
            )
        if unknown := sorted(set(here) - set(classes or here)):
            raise DataError(
                f"{root}: class {unknown[0]!r} is not a class of the training videos; rename it, {off}"
            )
        named = classes or tuple(here)
        return [named.index(owner) for owner in owners], named

    def together(
        self, root: Path, files: Sequence[str], labels: Sequence[int] | None, by: str
    ) -> Sequence[str] | None:
        """Folders of files; there are no groups.

        Raises:
            DataError: `by` is folder, and files lie in none.
        """
        if by == "group":
            return None
        depth = 0 if labels is None else 1
        parts = [Path(name).parts for name in files]
        loose = next((i for i, folders in enumerate(parts) if len(folders) < depth + 2), None)
        if loose is not None:
            raise DataError(
                f"{root}: `split` goes by folder, and {files[loose]!r} lies in none that could stay together; write "
                "`by: image`"
            )
        return [folders[depth] for folders in parts]


def found(
    root: Path, test: Path | None, kind: Kind, rules: FolderClasses, draw: SplitSpec | None, split: str
) -> ListedFiles | None:
    """The videos of `split`; None for a test split that is neither named nor drawn.

    Raises:
        DataError: there are none, or folders do not say what they have to.
    """
    if split != "train" and test is None and draw is None:
        return None
    names = videos_below(root, kind)
    base = root.parent if root.is_file() else root
    labels, classes = rules.labels(base, names, ())
    if draw is not None:
        keys = [name.replace(os.sep, "/") for name in names]
        if draw.by == "group":
            raise DataError(f"{root}: `split: {{by: group}}` needs a `listing` with a column of groups")
        keys = list(rules.together(base, names, labels, draw.by) or keys) if draw.by == "folder" else keys
        places = draw.places(keys, split, str(root), labels=labels, classes=classes)
        kept = None if labels is None else [labels[i] for i in places]
        return ListedFiles(base, [names[i] for i in places], kept, classes)
    if split == "train" or test is None:
        return ListedFiles(base, names, labels, classes)
    below = test.parent if test.is_file() else test
    tests = videos_below(test, kind)
    return ListedFiles(below, tests, *rules.labels(below, tests, classes))


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename}: cannot be listed: {error.strerror}")


def _circle(path: Path) -> bool:
    """Whether a link leads to a folder around itself."""
    return path.is_symlink() and path.parent.resolve().is_relative_to(path.resolve())
