"""Names of splits, as folders and files have them. Torch-free."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath

_NAMES: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training", "trn", "trainset", "trainval", "traindata"),
    "test": ("test", "testing", "tst", "testset", "testdata", "holdout", "heldout"),
    "validation": ("val", "valid", "validation", "valset", "dev", "devset", "eval", "evaluation"),
    "unlabeled": ("unlabeled", "unlabelled", "unsup", "unsupervised"),
}
_SPLIT_OF = {name: split for split, names in _NAMES.items() for name in names}
_BESIDE = frozenset({"set", "data", "dataset", "split", "images", "image", "imgs", "img"})
"""Words that say no more of a folder than that it holds data."""
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def split_of(name: str) -> str | None:
    """The split that a folder or a value is called after, such as `Testing`, `val2017`, `train_images`; or None.

    One of "train", "test", "validation" and "unlabeled". `train station` is none.
    """
    words = [word.casefold() for word in _words(name)]
    splits = {_SPLIT_OF[word] for word in words if word in _SPLIT_OF}
    rest = [word for word in words if word not in _SPLIT_OF and word not in _BESIDE]
    return splits.pop() if len(splits) == 1 and not rest else None


def splits_in(parts: Sequence[str]) -> dict[str, tuple[int, str]]:
    """Split -> which name of `parts` of a path first has a word for it, as `train-00000-of-00004`; and the word."""
    splits: dict[str, tuple[int, str]] = {}
    for place, part in enumerate(parts):
        for word in _words(part):
            if word.casefold() in _SPLIT_OF:
                splits.setdefault(_SPLIT_OF[word.casefold()], (place, word))
    return splits


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


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", _CAMEL.sub(" ", name))
