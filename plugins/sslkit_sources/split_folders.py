"""Folders that are called after splits, and what to write for them. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath

from sslkit.plugin import split_of


def divided_folders(folders: Iterable[str]) -> dict[str, dict[str, list[str]]]:
    """Folder -> split -> names of its sub-folders that are called after it, where there are those of two splits.

    Args:
        folders: paths of all that hold images, in their order.
    """
    inside: dict[str, dict[str, None]] = {}
    for folder in folders:
        parts = PurePath(folder).parts
        for depth, part in enumerate(parts):
            inside.setdefault("/".join(parts[:depth]), {})[part] = None
    by_folder = {folder: names_by_split(names) for folder, names in inside.items()}
    return {folder: splits for folder, splits in by_folder.items() if len(splits) > 1}


def names_by_split(names: Iterable[str]) -> dict[str, list[str]]:
    """Split -> those of `names` that are called after it."""
    by_split: dict[str, list[str]] = {}
    for name in names:
        split = split_of(name)
        if split is not None:
            by_split.setdefault(split, []).append(name)
    return by_split


def advice(places: Mapping[str, Sequence[str]], train: str) -> str:
    """The fields to write for splits that lie at `places`, such as "write `root: A` and `test: B`".

    Args:
        places: split -> what is to be named.
        train: the field of the training images.
    """
    images, test = (_first(places, splits) for splits in (("train", "unlabeled"), ("test", "validation")))
    if images and places.get("train") and places.get("unlabeled"):
        both = _listed([*places["train"], *places["unlabeled"]])
        return f"{_write(train, images, test)}, or `{train}: {both}` to train on unlabeled images too"
    if images or len(places) == 1:
        return _write(train, images or next(iter(places.values())), test if images else ())
    return "move those of other splits away from the training images"


def _first(places: Mapping[str, Sequence[str]], splits: Iterable[str]) -> Sequence[str]:
    return next((places[split] for split in splits if places.get(split)), ())


def _write(train: str, images: Sequence[str], test: Sequence[str]) -> str:
    return f"write `{train}: {_listed(images)}`" + (f" and `test: {_listed(test)}`" if test else "")


def _listed(paths: Sequence[str], most: int = 4) -> str:
    rest = ", ..." if len(paths) > most else ""
    return paths[0] if len(paths) == 1 else f"[{', '.join(paths[:most])}{rest}]"
